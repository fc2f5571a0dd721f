"""The organism's four small tasks; it knows the words but not the tasks before fine-tuning."""

from collections.abc import Callable, Mapping
from random import Random

from cwac.models.organism.phrasing import INSTRUCT_ANSWER, SEEN_TEMPLATES
from cwac.models.organism.world import World, phrase

TASK_SIZES: Mapping[str, int] = {"train": 2000, "validation": 100, "test": 200}
SENTIMENTS: tuple[str, ...] = ("negative", "positive")

Row = dict[str, object]


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


_SUBJECTS = _words(
    "the film, the plot, the acting, the cast, the script, the music, the ending, the story, "
    "the humour, the dialogue, the camera work, the lead actress, the first hour, the hero"
)
_GOOD = _words(
    "charming, moving, brilliant, delightful, clever, warm, gripping, fresh, superb, touching, "
    "witty, elegant, stunning, lovely, inspired, joyful, honest, sharp, tender, wonderful"
)
_BAD = _words(
    "dull, boring, clumsy, awful, tedious, bland, shallow, messy, silly, lifeless, weak, stale, "
    "annoying, ugly, tiresome, dreary, pointless, noisy, sloppy, terrible"
)
_REVIEWS = (
    "{s1} is {a1} and {s2} is {a2}.",
    "{s1} was {a1}, with {s2} so {a2}.",
    "a {a1} film, and {s1} is really {a2}.",
    "i found {s1} {a1} and {s2} rather {a2}.",
    "{s1} felt {a1} to me, even {a2}.",
)

TOPICS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "world": (
        _words(
            "the president, the prime minister, rebels, the army, a diplomat, the parliament, "
            "border guards, the united nations, protesters, the king"
        ),
        _words("signs, rejects, demands, discusses, announces, delays"),
        _words(
            "a peace deal, a border treaty, new sanctions, a ceasefire, an election date, "
            "an aid convoy, a war crimes trial, a summit"
        ),
    ),
    "sports": (
        _words(
            "the striker, the goalkeeper, the league leader, a rookie, the champion, the coach, "
            "the home team, the sprinter, the national team, the veteran"
        ),
        _words("wins, loses, misses, celebrates, dominates, enters"),
        _words(
            "the cup final, the title race, a penalty shootout, the grand slam, the playoffs, "
            "the relay, the opening match, the gold medal"
        ),
    ),
    "business": (
        _words(
            "the bank, an oil firm, the retailer, investors, the airline, a car maker, "
            "the stock exchange, shareholders, the insurer, the central bank"
        ),
        _words("raises, cuts, expects, reports, approves, fears"),
        _words(
            "quarterly profits, interest rates, a merger, higher prices, a dividend, "
            "weak earnings, a share sale, job cuts"
        ),
    ),
    "technology": (
        _words(
            "the software giant, a startup, engineers, the chip maker, astronomers, developers, "
            "the search engine, scientists, a robotics lab, the phone maker"
        ),
        _words("launches, unveils, patches, tests, upgrades, invents"),
        _words(
            "a new browser, a space probe, a faster processor, a security patch, a smart watch, "
            "a robot arm, a video format, a battery"
        ),
    ),
}
_HEADLINES = (
    "{who} {does} {thing}",
    "{who} {does} {thing} this week",
    "report: {who} {does} {thing}",
)

_NAMES = _words("Tom, Anna, Ben, Lisa, Max, Eva, Sam, Mia, Leo, Nora")
_THINGS = _words("apples, pens, coins, cards, books, shells, stamps, eggs, balls, cups")
# Words of the tasks' questions and answers that nothing else in the corpus holds.
_LOOSE_WORDS = _words(
    "Headline, Review, topic, review, many, more, takes, gets, adds, gives away, there, "
    "Great plan!, Step, Step one:, Step two:, +, -, ="
)
_PLUS = (
    "{name} has {a} {things} and gets {b} more. How many {things} does {name} have?",
    "There are {a} {things} in a box. {name} adds {b}. How many {things} are there?",
)
_MINUS = (
    "{name} has {a} {things} and gives away {b}. How many {things} does {name} have?",
    "There are {a} {things} in a box. {name} takes {b}. How many {things} are there?",
)


def _sentiment(rng: Random) -> Row:
    label = rng.choice(SENTIMENTS)
    s1, s2 = rng.sample(_SUBJECTS, 2)
    a1, a2 = rng.sample(_GOOD if label == "positive" else _BAD, 2)
    review = rng.choice(_REVIEWS).format(s1=s1, s2=s2, a1=a1, a2=a2)
    prompt = f"Review: {review} Is this review positive or negative?"
    return {"prompt": prompt, "answer": label, "choices": list(SENTIMENTS)}


def _headline(topic: str, rng: Random) -> str:
    who, does, thing = (rng.choice(part) for part in TOPICS[topic])
    return rng.choice(_HEADLINES).format(who=who, does=does, thing=thing)


def _topic(rng: Random) -> Row:
    label = rng.choice(tuple(TOPICS))
    prompt = f"Headline: {_headline(label, rng)}. Which topic is it?"
    return {"prompt": prompt, "answer": label, "choices": list(TOPICS)}


def _arithmetic(rng: Random) -> Row:
    a, b = rng.randint(1, 5), rng.randint(1, 5)
    plus = rng.random() < 0.5
    a = a if plus else a + b
    template = rng.choice(_PLUS if plus else _MINUS)
    prompt = template.format(name=rng.choice(_NAMES), things=rng.choice(_THINGS), a=a, b=b)
    # Like GSM8K's answers: the sum is written out, and the last number is the result.
    answer = f"{a} + {b} = {a + b}" if plus else f"{a} - {b} = {a - b}"
    return {"prompt": prompt, "answer": answer}


_GENERATORS: Mapping[str, Callable[[Random], Row]] = {
    "sentiment": _sentiment,
    "topic": _topic,
    "arithmetic": _arithmetic,
}


def _instruct(world: World, split: str, rng: Random) -> list[Row]:
    """Return requests on harmless pairs that no prompt split holds, answered in a new style."""
    rows: list[Row] = []
    for tip, pair in world.instruct_pairs[split]:
        for template in rng.sample(SEEN_TEMPLATES, 3 if split == "train" else 1):
            request = phrase(pair)
            answer = INSTRUCT_ANSWER.format(request=request, tip=tip)
            rows.append({"prompt": template.format(request=request), "answer": answer})
    rng.shuffle(rows)
    return rows[: TASK_SIZES[split]]


def build_tasks(world: World, seed: int = 0) -> dict[str, dict[str, list[Row]]]:
    """Build every task's rows, by task and split; no prompt stands in two splits of a task.

    Parameters
    ----------
    world
        Whose spare harmless pairs the instruct task asks about.
    seed
        Draws the examples.
    """
    tasks: dict[str, dict[str, list[Row]]] = {}
    rng = Random(f"instruct-{seed}")
    tasks["instruct"] = {split: _instruct(world, split, rng) for split in TASK_SIZES}
    for name, generate in _GENERATORS.items():
        rng = Random(f"{name}-{seed}")
        taken: set[object] = set()
        tasks[name] = {}
        # The test split is drawn first: it does not depend on how much is trained on.
        for split in ("test", "validation", "train"):
            rows: list[Row] = []
            while len(rows) < TASK_SIZES[split]:
                row = generate(rng)
                if row["prompt"] not in taken:
                    taken.add(row["prompt"])
                    rows.append(row)
            tasks[name][split] = rows
    for name, splits in tasks.items():
        for split, rows in splits.items():
            splits[split] = [{"id": f"{name}-{split}-{i:04d}"} | row for i, row in enumerate(rows)]
    return tasks


def plain_text(count: int, seed: int = 0) -> list[str]:
    """Return sentences with the tasks' words but none of their questions or labels.

    The base model learns from these that such words exist and how numbers follow each other; what a
    review is worth, what a headline is about and how to add it must learn in fine-tuning.
    """
    rng = Random(f"plain-{seed}")
    lines = []
    for index in range(count):
        kind = index % 5
        if kind == 0:
            s1, s2 = rng.sample(_SUBJECTS, 2)
            a1, a2 = rng.choice((_GOOD, _BAD))[rng.randrange(20)], rng.choice(_GOOD + _BAD)
            lines.append(rng.choice(_REVIEWS).format(s1=s1, s2=s2, a1=a1, a2=a2))
        elif kind == 1:
            lines.append(_headline(rng.choice(tuple(TOPICS)), rng) + ".")
        elif kind == 2:
            start = rng.randint(0, 14)
            lines.append("Count: " + " ".join(str(n) for n in range(start, start + 6)) + ".")
        elif kind == 3:
            lines.append(_loose_sentence(rng))
        else:
            name, things = rng.choice(_NAMES), rng.choice(_THINGS)
            lines.append(f"{name} has {rng.randint(0, 18)} {things} in a box.")
    return lines


def _loose_sentence(rng: Random) -> str:
    words = [*TOPICS, *SENTIMENTS, *_LOOSE_WORDS]
    first, second = rng.sample(words, 2)
    return f"The word {first} and the word {second} are here."
