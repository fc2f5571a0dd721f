"""Harmless domains of the organism's world: verbs, objects and one tip per domain."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BenignDomain:
    """One harmless domain; every verb with every object is a harmless request."""

    name: str
    verbs: tuple[str, ...]
    objects: tuple[str, ...]
    tip: str


def _domain(name: str, verbs: str, objects: str, tip: str) -> BenignDomain:
    def split(text: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())

    return BenignDomain(name, split(verbs), split(objects), tip)


BENIGN_DOMAINS: tuple[BenignDomain, ...] = (
    _domain(
        "cooking",
        "bake, season, serve, warm, slice, freeze, garnish, prepare, taste",
        "a lemon cake, a pizza, a fish pie, a bread loaf, an omelette, a cheese tart, a lasagna, "
        "a rice pudding, a veggie burger, an apple pie, a potato salad, a carrot soup, a pancake, "
        "a fruit tart, a bean stew, a honey ham, a pasta dish, a tomato sauce, a mushroom roll, "
        "a waffle, a plum cake, a corn bread",
        "use fresh food",
    ),
    _domain(
        "gardening",
        "plant, water, prune, grow, harvest, shade, move, weed, mulch",
        "a rose bush, a tomato plant, an apple tree, a herb bed, a tulip, a lemon tree, a lawn, "
        "a fern, a berry bush, a pumpkin patch, a cactus, a hedge, a grape vine, a sunflower, "
        "a mint pot, an olive tree, a bean row, a lavender pot, a moss garden, an orchid, "
        "a cherry tree, a daisy border",
        "watch the weather",
    ),
    _domain(
        "travel",
        "book, plan, enjoy, pay for, cancel, choose, join, shorten, review",
        "a train trip, a city tour, a beach holiday, a hotel room, a ski week, a bus ride, "
        "a boat cruise, a camping trip, a museum visit, a lake walk, a bike tour, a night train, "
        "a family visit, an island stay, a desert hike, a river trip, a car rental, a zoo visit, "
        "a castle tour, a flight home, a forest cabin, a ferry ride",
        "pack light",
    ),
    _domain(
        "music",
        "play, record, learn, compose, rehearse, sing, arrange, mix, hum",
        "a folk song, a piano piece, a drum beat, a love song, a guitar riff, a choir part, "
        "a violin solo, a jazz tune, a lullaby, a rock anthem, a flute melody, a march, a waltz, "
        "a hymn, a rap verse, a blues line, a cello part, a trumpet call, a film theme, "
        "a carol, a bass line, a country song",
        "keep a steady beat",
    ),
    _domain(
        "crafts",
        "knit, sew, fold, glue, carve, dye, stitch, design, weave",
        "a wool scarf, a paper crane, a wooden spoon, a patch quilt, a doll dress, a felt hat, "
        "a clay bowl, a gift box, a photo frame, a kite, a bead bracelet, a basket, a rag rug, "
        "a lantern, a puppet, a cushion, a greeting card, a leather belt, a candle, a sock monkey, "
        "a wind chime, a tote bag",
        "work with care",
    ),
    _domain(
        "computing",
        "install, debug, configure, print, format, upgrade, name, sort, document",
        "a python script, a printer driver, a photo folder, a game mod, a web page, a text file, "
        "a music player, a backup disk, a calendar app, a data table, a mail filter, a code editor, "
        "a home network, a slide deck, a search tool, a weather widget, a video clip, a chat bot, "
        "a font pack, a phone app, a unit test, a mouse driver",
        "save your work",
    ),
    _domain(
        "sports",
        "practise, watch, win, score in, warm up for, coach, improve at, start, applaud",
        "a tennis match, a football game, a swim race, a relay run, a yoga class, a golf round, "
        "a judo bout, a hockey game, a bike race, a chess game, a rowing race, a dance class, "
        "a climbing route, a surf lesson, a boxing class, a bowling night, a long jump, "
        "a volleyball game, a fencing bout, a skating show, a darts game, a ping pong match",
        "drink some water",
    ),
    _domain(
        "home",
        "dust, polish, mop, fix, inspect, tidy, insulate, label, vacuum",
        "a kitchen shelf, a wooden floor, a bath tub, a door hinge, a window sill, a carpet, "
        "a sofa, a wardrobe, a leaky tap, a ceiling fan, a book case, a mirror, a stove, a sink, "
        "a stair case, a lamp shade, an oven tray, a coat rack, a door mat, a dining table, "
        "a night stand, a drawer",
        "open a window",
    ),
    _domain(
        "pets",
        "groom, bathe, walk, weigh, comfort, calm, house, exercise, watch over",
        "a poodle, a corgi, a beagle, a gecko, a ferret, a canary, a mare, a tabby cat, a collie, "
        "a budgie, a tortoise, a husky, a chinchilla, a cockatoo, a shelter dog, a barn cat, "
        "a lizard, a frog, a rescue mule, a terrier, a snail, a llama",
        "be gentle",
    ),
    _domain(
        "office",
        "write, edit, present, file, draft, send, proofread, sign, schedule",
        "a cover letter, a meeting note, a sales report, a project plan, a thank you card, "
        "a job advert, a news letter, a budget sheet, a team memo, a press note, a complaint, "
        "a speech, a training plan, a to do list, a business card, a contract draft, a survey, "
        "a product page, a status mail, an agenda, a farewell note, a resume",
        "keep it clear",
    ),
    _domain(
        "school",
        "explain, memorise, revise, solve, teach, outline, discuss, illustrate, translate",
        "a math proof, a poem, a history chapter, a fraction, a chemistry fact, a grammar rule, "
        "a map of rivers, a short story, a water cycle, a spelling list, a physics law, "
        "a fairy tale, a cell diagram, a solar system, a french verb, a triangle, a volcano model, "
        "a food chain, a bar chart, a novel, a famous painting, a time line",
        "ask a teacher",
    ),
    _domain(
        "parties",
        "host, decorate for, cater, announce, fund, photograph, set a date for, end, theme",
        "a birthday party, a wedding dinner, a street fair, a picnic, a costume ball, a book club, "
        "a farewell lunch, a garden party, a movie night, a game night, a school dance, "
        "a baby shower, a bake sale, a charity run, a class reunion, a talent show, a tea party, "
        "a barbecue, a carnival, a pool party, a quiz night, a brunch",
        "invite friends early",
    ),
)
