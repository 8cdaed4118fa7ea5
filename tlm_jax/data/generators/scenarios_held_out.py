"""Word-problem scenarios that no training split uses: the out-of-distribution split."""

from tlm_jax.data.generators.stories import Scenario, part

FARM = Scenario(
    name="farm",
    words=(
        {"things": "eggs", "animal": "hens", "basket": "carton"},
        {"things": "apples", "animal": "trees", "basket": "crate"},
        {"things": "melons", "animal": "fields", "basket": "wagon"},
    ),
    openings=(
        part(
            "On the farm of {name} there are {n} {animal}. "
            "Each of the {animal} gives {m} {things}.",
            steps=["n * m: Each of the {n} {animal} gives {m} {things}, which is {eq} {things}."],
        ),
        part("The farm of {name} brings in {n} {things}."),
        part(
            "The {animal} on the farm of {name} give {n} {things} on one day "
            "and {m} {things} on the next.",
            steps=["n + m: {n} {things} and {m} {things} is {eq} {things}."],
        ),
    ),
    events=(
        part(
            "{name} also picks up {n} {things} from a neighbor's farm.",
            steps=["v + n: {told}, so {name} has {eq} {things}."],
        ),
        part(
            "A fox spoils {n} of the {things}.",
            steps=["v - n: {told}, so {eq} {things} are left."],
        ),
        part(
            "By autumn the harvest is {n} times as large.",
            steps=["v * n: {told}, which is {eq} {things}."],
        ),
    ),
    closings=(
        part("How many {things} can {name} sell?"),
        part(
            "A {basket} holds {n} {things}. How many of them does {name} fill?",
            steps=["v / n: A {basket} holds {n} {things}, so {name} fills {eq} of them."],
        ),
        part(
            "Every one sells for {n} dollars. What are all the {things} worth in dollars?",
            steps=[
                "v * n: Every one sells for {n} dollars, so all of them are worth {eq} dollars."
            ],
        ),
    ),
    distractors=("The farmhouse was built {d} years ago.", "{name} has {d} cousins."),
)

THEATER = Scenario(
    name="theater",
    words=({"show": "play"}, {"show": "concert"}, {"show": "puppet show"}),
    openings=(
        part(
            "A hall for a {show} has {n} rows with {m} seats in every row.",
            steps=["n * m: {n} rows with {m} seats in every row is {eq} seats."],
        ),
        part("A hall for a {show} has {n} seats."),
    ),
    events=(
        part(
            "Workers carry in {n} extra seats.",
            steps=["v + n: {told}, so there are {eq} seats."],
        ),
        part(
            "{n} seats are broken and roped off.",
            steps=["v - n: {told}, so {eq} seats can be used."],
        ),
        part(
            "The balcony adds {n} boxes of {m} seats.",
            steps=[
                "n * m = r: {told}, which is {eq} seats.",
                "v + r: So there are {eq} seats.",
            ],
        ),
    ),
    closings=(
        part(
            "{n} tickets are sold. How many seats stay empty?",
            steps=["v - n: {n} tickets are sold, so {eq} seats stay empty."],
        ),
        part(
            "The usable seats sell out at {n} dollars a ticket. "
            "How many dollars does the {show} bring in?",
            steps=["v * n: A ticket costs {n} dollars, so the {show} brings in {eq} dollars."],
        ),
        part("How many people can sit down at the {show}?"),
    ),
    distractors=("The {show} goes on for {d} minutes.", "{d} actors wait behind the stage."),
)

POST = Scenario(
    name="post",
    words=({"things": "letters"}, {"things": "parcels"}, {"things": "newspapers"}),
    openings=(
        part(
            "{name} must deliver {n} {things} in the morning and {m} in the afternoon.",
            steps=["n + m: {n} in the morning and {m} in the afternoon is {eq} {things}."],
        ),
        part(
            "A van brings {n} sacks with {m} {things} apiece to {name}.",
            steps=["n * m: {n} sacks with {m} {things} apiece is {eq} {things}."],
        ),
        part("There are {n} {things} in the mail bag of {name}."),
    ),
    events=(
        part(
            "On the first street {he} delivers {n} {things}.",
            steps=["v - n: {told}, so {eq} {things} remain."],
        ),
        part(
            "The office hands {him} {n} extra {things}.",
            steps=["v + n: {told}, so {he} carries {eq} {things}."],
        ),
        part(
            "Half of the {things} go to another route.",
            steps=["v / 2: {told}, so {eq} {things} remain."],
        ),
    ),
    closings=(
        part("How many {things} remain in the bag?"),
        part(
            "{name} brings {n} of the {things} to every house. How many houses does {he} visit?",
            steps=["v / n: {name} brings {n} {things} to every house, so {he} visits {eq} houses."],
        ),
    ),
    distractors=("The route is {d} miles long.", "{name} has delivered mail for {d} years."),
)
