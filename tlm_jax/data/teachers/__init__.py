"""Examples together with what teachers say about them."""
