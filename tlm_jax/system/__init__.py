"""The process and the machine around it: signals, terminal, files, other processes."""
