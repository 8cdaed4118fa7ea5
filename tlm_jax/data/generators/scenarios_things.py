"""Word-problem scenarios about things that are owned, bought, made and shared."""

from tlm_jax.data.generators.stories import Scenario, part

COLLECTION = Scenario(
    name="collection",
    words=(
        {"things": "stickers", "box": "album", "boxes": "albums"},
        {"things": "stamps", "box": "book", "boxes": "books"},
        {"things": "cards", "box": "folder", "boxes": "folders"},
        {"things": "shells", "box": "jar", "boxes": "jars"},
        {"things": "coins", "box": "bag", "boxes": "bags"},
    ),
    openings=(
        part("{name} has {n} {things}.", "{name} starts with {n} {things} in a drawer."),
        part(
            "{name} has {n} {boxes} of {things}. Each {box} holds {m} {things}.",
            "{name} keeps {his} {things} in {n} {boxes}, with {m} {things} in every {box}.",
            steps=["n * m: {n} {boxes} of {m} {things} is {eq} {things}."],
        ),
        part(
            "{name} has {n} {things} and {other} has {m} more {things} than {name}. "
            "They put all of them together.",
            steps=[
                "n + m = r: {other} has {m} more than {name}, so {other} has {eq} {things}.",
                "n + r: Together they have {eq} {things}.",
            ],
        ),
        part(
            "{name} has {n} {boxes} with {m} {things} in each, and {k} loose {things}.",
            steps=[
                "n * m = r: {n} {boxes} of {m} {things} is {eq} {things}.",
                "r + k: There are {k} loose {things}, so {name} has {eq} {things}.",
            ],
        ),
    ),
    events=(
        part(
            "{His} uncle gives {him} {n} more {things}.",
            "Then {he} finds {n} {things} in the attic.",
            steps=["v + n: {told}, so {he} has {eq} {things}."],
        ),
        part(
            "{He} gives {n} {things} to {other}.",
            "After that {he} loses {n} of the {things}.",
            steps=["v - n: {told}, so {he} has {eq} {things}."],
        ),
        part(
            "{He} trades every one of the {things} for {n} smaller {things}.",
            steps=["v * n: {told}, so {he} has {eq} {things}."],
        ),
        part(
            "At a fair {he} buys {n} {boxes} with {m} {things} in each.",
            steps=[
                "n * m = r: {told}, which is {eq} {things}.",
                "v + r: So {he} has {eq} {things}.",
            ],
        ),
    ),
    closings=(
        part(
            "How many {things} does {name} have now?",
            "How many {things} are there in the end?",
        ),
        part(
            "{He} puts the {things} on pages, {n} on each page. How many pages does {he} fill?",
            steps=["v / n: {He} puts {n} on each page, so {he} fills {eq} pages."],
        ),
        part(
            "{name} wants to have {n} {things}. How many more {things} does {he} need?",
            steps=["n - v: {name} wants to have {n} {things}, so {he} needs {eq} {things}."],
        ),
        part(
            "{other} has twice as many {things}. How many {things} does {other} have?",
            steps=["v * 2: {other} has twice as many, so {other} has {eq} {things}."],
        ),
    ),
    distractors=(
        "{His} brother is {d} years old.",
        "The oldest of the {things} is {d} years old.",
        "{name} has been collecting for {d} months.",
    ),
)

SHOPPING = Scenario(
    name="shopping",
    words=(
        {"things": "pens", "thing": "pen", "boxes": "packs", "box": "pack"},
        {"things": "notebooks", "thing": "notebook", "boxes": "boxes", "box": "box"},
        {"things": "candles", "thing": "candle", "boxes": "boxes", "box": "box"},
        {"things": "socks", "thing": "sock", "boxes": "bags", "box": "bag"},
        {"things": "batteries", "thing": "battery", "boxes": "packs", "box": "pack"},
    ),
    openings=(
        part("{name} buys {n} {things}.", "At the market {name} picks {n} {things}."),
        part(
            "{name} buys {n} {boxes} of {things}. There are {m} {things} in each {box}.",
            "{name} goes to the shop for {n} {boxes} of {things}, {m} {things} to a {box}.",
            steps=["n * m: {n} {boxes} of {m} {things} is {eq} {things}."],
        ),
        part(
            "{name} buys {n} {boxes} with {m} {things} each for {his} office "
            "and {k} {things} for {his} home.",
            steps=[
                "n * m = r: {n} {boxes} of {m} {things} is {eq} {things}.",
                "r + k: {He} buys {k} {things} for {his} home, so in all that is {eq} {things}.",
            ],
        ),
    ),
    events=(
        part(
            "The shop adds {n} {things} for free.",
            "On the way out {he} takes {n} more {things}.",
            steps=["v + n: {told}, so {he} has {eq} {things}."],
        ),
        part(
            "{He} brings {n} of the {things} back to the shop.",
            "At home {he} sees that {n} {things} are broken and throws them away.",
            steps=["v - n: {told}, so {eq} {things} are left."],
        ),
        part(
            "The next day {he} buys {n} {boxes} of {m} {things}.",
            steps=[
                "n * m = r: {told}, which is {eq} {things}.",
                "v + r: So {he} has {eq} {things}.",
            ],
        ),
    ),
    closings=(
        part("How many {things} does {name} have at the end?", "How many {things} is that?"),
        part(
            "Every {thing} costs {n} dollars. How many dollars do {his} {things} cost?",
            steps=["v * n: Every {thing} costs {n} dollars, so the {things} cost {eq} dollars."],
        ),
        part(
            "{name} splits the {things} into {n} equal piles. How many {things} are in a pile?",
            steps=["v / n: There are {n} equal piles, so a pile has {eq} {things}."],
        ),
        part(
            "Each {thing} costs {n} dollars and {name} pays with {m} dollars. "
            "How many dollars does {he} get back?",
            steps=[
                "v * n = r: Each {thing} costs {n} dollars, so the {things} cost {eq} dollars.",
                "m - r: {name} pays with {m} dollars, so {he} gets back {eq} dollars.",
            ],
        ),
    ),
    distractors=(
        "The shop is {d} miles away.",
        "The shop has been open for {d} years.",
        "There are {d} people in the line.",
    ),
)

BAKING = Scenario(
    name="baking",
    words=(
        {"things": "cookies", "boxes": "trays", "box": "tray"},
        {"things": "muffins", "boxes": "pans", "box": "pan"},
        {"things": "rolls", "boxes": "sheets", "box": "sheet"},
        {"things": "tarts", "boxes": "trays", "box": "tray"},
    ),
    openings=(
        part("{name} bakes {n} {things}.", "On Sunday {name} makes {n} {things}."),
        part(
            "{name} bakes {n} {boxes} of {things} with {m} {things} on each {box}.",
            "A recipe makes {m} {things}. {name} makes the recipe {n} times.",
            steps=["n * m: {n} times {m} {things} is {eq} {things}."],
        ),
        part(
            "{name} bakes {n} {things} in the morning and twice as many in the evening.",
            steps=[
                "n * 2 = r: {name} bakes twice as many in the evening, which is {eq} {things}.",
                "n + r: So in the whole day {he} bakes {eq} {things}.",
            ],
        ),
    ),
    events=(
        part(
            "Then {he} bakes {n} more {things}.",
            "{His} neighbor brings {n} {things} too.",
            steps=["v + n: {told}, so there are {eq} {things}."],
        ),
        part(
            "{His} family eats {n} {things}.",
            "In the oven {n} {things} get burned and cannot be used.",
            steps=["v - n: {told}, so {eq} {things} are left."],
        ),
        part(
            "Half of the {things} go to {other}.",
            steps=["v / 2: {told}, so {eq} {things} are left."],
        ),
    ),
    closings=(
        part("How many {things} does {name} have left?", "How many {things} are there now?"),
        part(
            "{He} packs the {things} into boxes of {n}. How many boxes does {he} fill?",
            steps=["v / n: {He} packs boxes of {n}, so {he} fills {eq} boxes."],
        ),
        part(
            "{He} sells each of the {things} for {n} dollars. How many dollars does {he} earn?",
            steps=["v * n: {He} sells each of them for {n} dollars, so {he} earns {eq} dollars."],
        ),
        part(
            "For the party {he} needs {n} {things}. How many more must {he} bake?",
            steps=["n - v: For the party {he} needs {n} {things}, so {he} must bake {eq} more."],
        ),
    ),
    distractors=(
        "The oven is {d} years old.",
        "Every one of them bakes for {d} minutes.",
        "{name} learned the recipe {d} years ago.",
    ),
)

SHARING = Scenario(
    name="sharing",
    words=(
        {"things": "candies", "boxes": "bags", "box": "bag"},
        {"things": "grapes", "boxes": "bowls", "box": "bowl"},
        {"things": "nuts", "boxes": "bags", "box": "bag"},
        {"things": "balloons", "boxes": "packs", "box": "pack"},
    ),
    openings=(
        part("{name} brings {n} {things} to a party.", "For a party {name} gets {n} {things}."),
        part(
            "For a party {name} opens {n} {boxes}. Every {box} has {m} {things}.",
            "{name} brings {n} {boxes} with {m} {things} each to a party.",
            steps=["n * m: {n} {boxes} of {m} {things} is {eq} {things}."],
        ),
        part(
            "{name} brings {n} {things} to a party and {other} brings {m} {things}.",
            steps=["n + m: {name} brings {n} and {other} brings {m}, which is {eq} {things}."],
        ),
    ),
    events=(
        part(
            "A guest adds {n} {things}.",
            "Later {n} more {things} are found in the kitchen.",
            steps=["v + n: {told}, so there are {eq} {things}."],
        ),
        part(
            "The small children take {n} of the {things}.",
            "{n} of the {things} fall on the floor and are lost.",
            steps=["v - n: {told}, so {eq} {things} are left."],
        ),
        part(
            "Each of {n} late guests brings {m} {things}.",
            steps=[
                "n * m = r: {told}, which is {eq} {things}.",
                "v + r: So there are {eq} {things}.",
            ],
        ),
    ),
    closings=(
        part(
            "{n} friends share the {things} equally. How many {things} does each friend get?",
            "The {things} are shared equally by {n} children. How many does each child get?",
            steps=["v / n: {n} of them share equally, so each one gets {eq} {things}."],
        ),
        part(
            "{n} friends share the {things} equally. {name} is one of them and eats {m} of {his} "
            "{things}. How many {things} does {name} have left?",
            steps=[
                "v / n = r: {n} of them share equally, so each one gets {eq} {things}.",
                "r - m: {name} eats {m}, so {he} has {eq} {things} left.",
            ],
        ),
        part("How many {things} are there for everyone?", "How many {things} are there at last?"),
    ),
    distractors=(
        "The party lasts {d} hours.",
        "{d} songs are played.",
        "{name} turns {d} that day.",
    ),
)

CRAFT = Scenario(
    name="craft",
    words=(
        {"things": "beads", "boxes": "strings", "box": "string", "work": "necklace"},
        {"things": "buttons", "boxes": "tins", "box": "tin", "work": "puppet"},
        {"things": "screws", "boxes": "boxes", "box": "box", "work": "chair"},
        {"things": "bricks", "boxes": "stacks", "box": "stack", "work": "tower"},
    ),
    openings=(
        part(
            "{name} has {n} {things} for {his} hobby.",
            "There are {n} {things} on the table of {name}.",
        ),
        part(
            "{name} finds {n} {boxes} of {things} with {m} {things} in each {box}.",
            steps=["n * m: {n} {boxes} of {m} {things} is {eq} {things}."],
        ),
        part(
            "{name} has {n} red {things} and {m} times as many blue {things}.",
            steps=[
                "n * m = r: There are {m} times as many blue {things}, which is {eq} {things}.",
                "n + r: So red and blue together there are {eq} {things}.",
            ],
        ),
    ),
    events=(
        part(
            "{other} lends {him} {n} {things}.",
            "{He} buys another {n} {things}.",
            steps=["v + n: {told}, so {he} has {eq} {things}."],
        ),
        part(
            "{He} uses {n} {things} for a small {work}.",
            "{n} of the {things} turn out to be too big.",
            steps=["v - n: {told}, so {eq} {things} are left."],
        ),
        part(
            "{He} makes {n} small gifts with {m} {things} each.",
            steps=[
                "n * m = r: {told}, which is {eq} {things}.",
                "v - r: So {he} has {eq} {things} left.",
            ],
        ),
    ),
    closings=(
        part("How many {things} can {name} still use?", "How many {things} does {name} have now?"),
        part(
            "One {work} takes {n} {things}. How many of them can {name} make?",
            steps=["v / n: One {work} takes {n} {things}, so {he} can make {eq} of them."],
        ),
        part(
            "A large {work} takes {n} {things}. How many {things} are missing?",
            steps=["n - v: A large {work} takes {n} {things}, so {eq} {things} are missing."],
        ),
    ),
    distractors=(
        "{name} works in a room with {d} windows.",
        "{He} has had this hobby for {d} years.",
    ),
)

GARDEN = Scenario(
    name="garden",
    words=(
        {"things": "tulips"},
        {"things": "carrots"},
        {"things": "rose bushes"},
        {"things": "bean plants"},
        {"things": "young trees"},
    ),
    openings=(
        part("There are {n} {things} in the garden of {name}.", "{name} plants {n} {things}."),
        part(
            "{name} plants {n} rows of {m} {things}.",
            "In the garden of {name} there are {n} rows of {m} {things}.",
            steps=["n * m: {n} rows of {m} {things} is {eq} {things}."],
        ),
        part(
            "{name} plants {n} rows with {m} {things} in each, and {k} {things} by the door.",
            steps=[
                "n * m = r: {n} rows of {m} {things} is {eq} {things}.",
                "r + k: There are {k} {things} by the door, so there are {eq} {things}.",
            ],
        ),
    ),
    events=(
        part(
            "In spring {he} plants {n} more {things}.",
            "{other} brings {n} {things} and plants them as well.",
            steps=["v + n: {told}, so there are {eq} {things}."],
        ),
        part(
            "A storm destroys {n} {things}.",
            "{He} gives {n} {things} to {his} sister.",
            steps=["v - n: {told}, so {eq} {things} are left."],
        ),
        part(
            "A year later there are {n} times as many {things}.",
            steps=["v * n: {told}, which is {eq} {things}."],
        ),
    ),
    closings=(
        part("How many {things} are in the garden now?", "How many {things} does {name} have?"),
        part(
            "{He} needs {n} liters of water for each of the {things}. "
            "How many liters of water does {he} need?",
            steps=["v * n: {He} needs {n} liters for each, so {he} needs {eq} liters of water."],
        ),
        part(
            "{He} waters them over {n} days, the same number each day. "
            "How many {things} does {he} water each day?",
            steps=["v / n: {He} waters them over {n} days, so each day {he} waters {eq} {things}."],
        ),
    ),
    distractors=(
        "The fence around the garden is {d} meters long.",
        "The garden is {d} years old.",
        "{d} birds sit on the fence.",
    ),
)
