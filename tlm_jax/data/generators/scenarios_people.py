"""Word-problem scenarios about people: money, work, journeys, classes and games."""

from tlm_jax.data.generators.stories import Scenario, part

WAGES = Scenario(
    name="wages",
    words=(
        {"job": "washes cars", "place": "garage"},
        {"job": "walks dogs", "place": "park"},
        {"job": "paints walls", "place": "school"},
        {"job": "serves tea", "place": "hotel"},
    ),
    openings=(
        part(
            "{name} {job} for {n} hours. {He} is paid {m} dollars an hour.",
            "{name} {job} for {m} dollars an hour and works {n} hours.",
            steps=["n * m: {n} hours for {m} dollars an hour is {eq} dollars."],
        ),
        part(
            "{name} {job}. {He} works {n} hours on Monday and {m} hours on Tuesday. "
            "{He} earns {k} dollars an hour.",
            steps=[
                "n + m = r: {He} works {n} hours and {m} hours, which is {eq} hours.",
                "r * k: {He} earns {k} dollars an hour, so {he} earns {eq} dollars.",
            ],
        ),
        part("{name} {job} and earns {n} dollars.", "{name} {job} all day for {n} dollars."),
    ),
    events=(
        part(
            "A happy customer gives {him} {n} dollars more.",
            "{He} also gets {n} dollars in tips.",
            steps=["v + n: {told}, so {he} has {eq} dollars."],
        ),
        part(
            "{He} spends {n} dollars on lunch.",
            "{He} pays {n} dollars for the bus.",
            steps=["v - n: {told}, so {he} has {eq} dollars."],
        ),
        part(
            "In the evening {he} helps {n} neighbors who pay {m} dollars each.",
            steps=[
                "n * m = r: {n} neighbors who pay {m} dollars each is {eq} dollars.",
                "v + r: So {he} has {eq} dollars.",
            ],
        ),
    ),
    closings=(
        part("How many dollars does {name} have?", "How much money, in dollars, is that?"),
        part(
            "{name} does the same for {n} days. How many dollars does {he} have then?",
            steps=["v * n: {name} does the same for {n} days, so {he} has {eq} dollars."],
        ),
        part(
            "{name} divides the money equally among {n} helpers. "
            "How many dollars does each helper get?",
            steps=["v / n: There are {n} helpers, so each helper gets {eq} dollars."],
        ),
        part(
            "A coat costs {n} dollars. How many dollars does {name} still need for the coat?",
            steps=["n - v: A coat costs {n} dollars, so {he} still needs {eq} dollars."],
        ),
    ),
    distractors=(
        "The {place} is {d} miles from {his} home.",
        "{other} has worked there for {d} years.",
        "{d} people work at the {place}.",
    ),
)

SAVINGS = Scenario(
    name="savings",
    words=(
        {"goal": "bicycle", "time": "week"},
        {"goal": "guitar", "time": "month"},
        {"goal": "camera", "time": "week"},
        {"goal": "tent", "time": "month"},
    ),
    openings=(
        part("{name} has {n} dollars in {his} piggy bank.", "{name} has saved {n} dollars."),
        part(
            "{name} saves {n} dollars every {time}. {He} does this {m} times.",
            "Every {time} {name} saves {n} dollars, and this goes on {m} times.",
            steps=["n * m: {n} dollars every {time} for {m} times is {eq} dollars."],
        ),
        part(
            "{name} has {n} dollars. {He} saves {m} dollars every {time}, {k} times.",
            steps=[
                "m * k = r: {m} dollars every {time} for {k} times is {eq} dollars.",
                "n + r: {name} has {n} dollars before that, so {he} has {eq} dollars.",
            ],
        ),
    ),
    events=(
        part(
            "{His} grandmother gives {him} {n} dollars.",
            "For {his} birthday {he} gets {n} dollars.",
            steps=["v + n: {told}, so {he} has {eq} dollars."],
        ),
        part(
            "{He} spends {n} dollars on a book.",
            "{He} lends {n} dollars to {other}.",
            steps=["v - n: {told}, so {he} has {eq} dollars."],
        ),
        part(
            "{His} parents double the money.",
            steps=["v * 2: {told}, so {he} has {eq} dollars."],
        ),
    ),
    closings=(
        part("How many dollars does {name} have now?", "How much money does {name} have now?"),
        part(
            "The {goal} costs {n} dollars. How many dollars are missing?",
            steps=["n - v: The {goal} costs {n} dollars, so {eq} dollars are missing."],
        ),
        part(
            "{He} puts the money into {n} jars, the same in each. How many dollars are in a jar?",
            steps=["v / n: {He} puts the money into {n} jars, so a jar has {eq} dollars."],
        ),
    ),
    distractors=(
        "The {goal} weighs {d} pounds.",
        "{name} is {d} years old.",
        "{other} has wanted a {goal} for {d} months.",
    ),
)

BUS = Scenario(
    name="bus",
    words=(
        {"bus": "bus", "cars": "rows"},
        {"bus": "train", "cars": "cars"},
        {"bus": "boat", "cars": "decks"},
    ),
    openings=(
        part(
            "A {bus} leaves the city with {n} passengers.", "There are {n} passengers on a {bus}."
        ),
        part(
            "A {bus} has {n} {cars} with {m} passengers in each.",
            "On a {bus} there are {n} {cars}, and {m} passengers sit in each.",
            steps=["n * m: {n} {cars} with {m} passengers in each is {eq} passengers."],
        ),
        part(
            "A {bus} carries {n} children and {m} times as many adults.",
            steps=[
                "n * m = r: There are {m} times as many adults, which is {eq} adults.",
                "n + r: There are {n} children, so together there are {eq} passengers.",
            ],
        ),
    ),
    events=(
        part(
            "At the next stop {n} people get on.",
            "Then {n} more passengers come.",
            steps=["v + n: {told}, so there are {eq} passengers."],
        ),
        part(
            "At the bridge {n} people get off.",
            "At the market {n} passengers leave.",
            steps=["v - n: {told}, so there are {eq} passengers."],
        ),
        part(
            "At the station {n} people get off and {m} people get on.",
            steps=[
                "v - n = r: {n} people get off, so there are {eq} passengers.",
                "r + m: {m} people get on, so there are {eq} passengers.",
            ],
        ),
    ),
    closings=(
        part("How many passengers are on the {bus} now?", "How many passengers does it carry now?"),
        part(
            "Each passenger pays {n} dollars. How many dollars do they pay together?",
            steps=["v * n: Each passenger pays {n} dollars, so they pay {eq} dollars."],
        ),
        part(
            "At the end they leave in taxis, {n} in each. How many taxis do they need?",
            steps=["v / n: They leave in taxis, {n} in each, so they need {eq} taxis."],
        ),
        part(
            "The {bus} has seats for {n} passengers. How many seats are free?",
            steps=["n - v: The {bus} has seats for {n} passengers, so {eq} seats are free."],
        ),
    ),
    distractors=(
        "The driver has worked for {d} years.",
        "The {bus} is {d} meters long.",
        "The ride takes {d} minutes.",
    ),
)

TRAVEL = Scenario(
    name="travel",
    words=(
        {"rides": "rides a bike", "unit": "miles"},
        {"rides": "drives", "unit": "miles"},
        {"rides": "hikes", "unit": "kilometers"},
        {"rides": "rows", "unit": "kilometers"},
    ),
    openings=(
        part("{name} {rides} for {n} {unit}.", "On the first day {name} {rides} {n} {unit}."),
        part(
            "{name} {rides} for {n} hours. {He} covers {m} {unit} in each hour.",
            "{name} {rides} {m} {unit} an hour for {n} hours.",
            steps=["n * m: {n} hours of {m} {unit} is {eq} {unit}."],
        ),
        part(
            "{name} {rides} {n} {unit} on Friday and {m} {unit} more on Saturday than on Friday.",
            steps=[
                "n + m = r: On Saturday it is {m} {unit} more, which is {eq} {unit}.",
                "n + r: So on both days {he} covers {eq} {unit}.",
            ],
        ),
    ),
    events=(
        part(
            "After a rest {he} goes {n} {unit} farther.",
            "Then {he} goes another {n} {unit}.",
            steps=["v + n: {told}, so {he} has covered {eq} {unit}."],
        ),
        part(
            "Then {he} goes on for {n} hours at {m} {unit} an hour.",
            steps=[
                "n * m = r: {n} hours at {m} {unit} an hour is {eq} {unit}.",
                "v + r: So {he} has covered {eq} {unit}.",
            ],
        ),
    ),
    closings=(
        part("How many {unit} does {name} cover in all?", "How many {unit} is that in all?"),
        part(
            "The whole way is {n} {unit} long. How many {unit} are left?",
            steps=["n - v: The whole way is {n} {unit} long, so {eq} {unit} are left."],
        ),
        part(
            "{He} goes back in {n} equal parts. How many {unit} long is one part?",
            steps=["v / n: {He} goes back in {n} equal parts, so one part is {eq} {unit} long."],
        ),
        part(
            "{other} covers {n} times that. How many {unit} does {other} cover?",
            steps=["v * n: {other} covers {n} times that, which is {eq} {unit}."],
        ),
    ),
    distractors=(
        "{name} carries {d} bottles of water.",
        "It is {d} degrees outside.",
        "{He} meets {d} friends on the way.",
    ),
)

CLASSROOM = Scenario(
    name="classroom",
    words=(
        {"kids": "students", "place": "class"},
        {"kids": "children", "place": "choir"},
        {"kids": "dancers", "place": "dance group"},
        {"kids": "players", "place": "sports club"},
    ),
    openings=(
        part(
            "There are {n} {kids} in the {place} of {name}.",
            "{name} teaches a {place} with {n} {kids}.",
        ),
        part(
            "In a {place} {name} makes {n} groups with {m} {kids} in each.",
            "{n} teams of {m} {kids} come to the {place}.",
            steps=["n * m: {n} times {m} {kids} is {eq} {kids}."],
        ),
        part(
            "In a {place} there are {n} girls and {m} more boys than girls.",
            steps=[
                "n + m = r: There are {m} more boys than girls, which is {eq} boys.",
                "n + r: So girls and boys together are {eq} {kids}.",
            ],
        ),
    ),
    events=(
        part(
            "In autumn {n} new {kids} join.",
            "{n} {kids} come from another {place}.",
            steps=["v + n: {told}, so there are {eq} {kids}."],
        ),
        part(
            "On Friday {n} {kids} are ill and stay at home.",
            "{n} of the {kids} move away.",
            steps=["v - n: {told}, so {eq} {kids} are left."],
        ),
    ),
    closings=(
        part("How many {kids} are in the {place} now?", "How many {kids} are there now?"),
        part(
            "They form {n} equal teams. How many {kids} are in a team?",
            "They sit at {n} tables, the same number at each. How many sit at a table?",
            steps=["v / n: There are {n} of them, so each one has {eq} {kids}."],
        ),
        part(
            "Each of them gets {n} pencils. How many pencils do they need?",
            steps=["v * n: Each of them gets {n} pencils, so they need {eq} pencils."],
        ),
        part(
            "There are {n} chairs in the room. How many chairs stay empty?",
            steps=["n - v: There are {n} chairs in the room, so {eq} chairs stay empty."],
        ),
    ),
    distractors=(
        "The room has {d} windows.",
        "A lesson takes {d} minutes.",
        "{other} has been a teacher for {d} years.",
    ),
)

GAME = Scenario(
    name="game",
    words=(
        {"game": "a computer game"},
        {"game": "a card game"},
        {"game": "darts"},
        {"game": "a quiz"},
    ),
    openings=(
        part("{name} plays {game} and has {n} points.", "{name} starts {game} with {n} points."),
        part(
            "{name} plays {game}. {He} plays {n} rounds and gets {m} points in each round.",
            "In {game} {name} wins {n} rounds for {m} points each.",
            steps=["n * m: {n} rounds of {m} points is {eq} points."],
        ),
        part(
            "In {game} {other} gets {n} points. {name} gets {m} times as many, and then {k} more.",
            steps=[
                "n * m = r: {name} gets {m} times as many, which is {eq} points.",
                "r + k: {name} gets {k} more, so {he} has {eq} points.",
            ],
        ),
    ),
    events=(
        part(
            "{He} finds a treasure for {n} points.",
            "Then {he} gets {n} points more.",
            steps=["v + n: {told}, so {he} has {eq} points."],
        ),
        part(
            "{He} makes a mistake and loses {n} points.",
            "Then {n} points are taken away.",
            steps=["v - n: {told}, so {he} has {eq} points."],
        ),
        part(
            "In the bonus round {his} points are multiplied by {n}.",
            steps=["v * n: {told}, so {he} has {eq} points."],
        ),
    ),
    closings=(
        part("How many points does {name} have at the end?", "What is the final score of {name}?"),
        part(
            "{He} needs {n} points to win. How many points are missing?",
            steps=["n - v: {He} needs {n} points to win, so {eq} points are missing."],
        ),
        part(
            "{He} trades {n} points for a prize as often as {he} can. "
            "How many prizes does {he} get?",
            steps=["v / n: {He} trades {n} points for a prize, so {he} gets {eq} prizes."],
        ),
    ),
    distractors=(
        "The game was made {d} years ago.",
        "{other} watches for {d} minutes.",
        "{d} people play that day.",
    ),
)
