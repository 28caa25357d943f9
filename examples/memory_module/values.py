# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# Faker's providers are found at run time.
"""Draws the values of facts: names, places, food and so on from lists, or words of the base's vocabulary.

Some words are held out: no training episode has a value with one of them, and every held-out value has at
least one ("white wine" is held out if "white" is, though "red wine" is trained on).
"""

import hashlib
import random
from calendar import month_name
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from faker import Faker

Part = Literal["train", "held-out"]

HELD_OUT_SHARE = 0.12
"""This share of all words is held out, chosen by their hashes."""

AGES = (5, 99)
"""The lowest and the highest age, in years."""

LISTS: dict[str, str] = {
    "city": "London, Paris, Berlin, Madrid, Rome, Vienna, Prague, Lisbon, Dublin, Oslo, Stockholm, "
    "Helsinki, Warsaw, Budapest, Athens, Istanbul, Moscow, Cairo, Lagos, Nairobi, Cape Town, "
    "Tokyo, Kyoto, Osaka, Seoul, Beijing, Shanghai, Hong Kong, Bangkok, Hanoi, Singapore, "
    "Jakarta, Manila, Delhi, Mumbai, Karachi, Tehran, Baghdad, Dubai, Sydney, Melbourne, "
    "Auckland, Toronto, Montreal, Vancouver, New York, Boston, Chicago, Seattle, Denver, Dallas, "
    "Houston, Miami, Atlanta, Phoenix, San Francisco, Los Angeles, San Diego, Las Vegas, "
    "Portland, Detroit, Philadelphia, Mexico City, Havana, Bogota, Lima, Santiago, Buenos Aires, "
    "Rio de Janeiro, Munich, Hamburg, Cologne, Zurich, Geneva, Milan, Naples, Venice, Florence, "
    "Barcelona, Seville, Porto, Lyon, Marseille, Brussels, Amsterdam, Rotterdam, Copenhagen, "
    "Edinburgh, Glasgow, Manchester, Liverpool, Bristol, Oxford, Cambridge, York, Leeds, Bath, "
    "Krakow, Riga, Tallinn",
    "job": "teacher, nurse, doctor, lawyer, baker, carpenter, plumber, electrician, farmer, chef, "
    "waiter, pilot, sailor, soldier, painter, writer, journalist, musician, actor, dancer, "
    "singer, photographer, architect, engineer, programmer, scientist, chemist, librarian, "
    "accountant, banker, broker, salesman, secretary, manager, driver, mechanic, tailor, butcher, "
    "barber, hairdresser, gardener, fisherman, firefighter, police officer, judge, dentist, "
    "surgeon, pharmacist, therapist, psychologist, translator, editor, designer, tour guide, "
    "flight attendant, taxi driver, truck driver, software developer, data analyst, social "
    "worker, real estate agent, graphic designer, web designer, shop owner, postman, miner, "
    "astronaut, detective, clerk, professor",
    "food": "pizza, sushi, lasagna, curry, ramen, tacos, pancakes, risotto, paella, dumplings, falafel, "
    "soup, bread, cheese, rice, noodles, salad, steak, fish, chicken, eggs, potatoes, beans, "
    "lentils, tofu, salmon, spaghetti, burgers, fried rice, apple pie, banana bread, tomato soup, "
    "roast chicken, mashed potatoes, chocolate cake, ice cream, goat cheese, peanut butter, "
    "cherry pie, mushroom soup, lamb stew, corn bread, grilled cheese, couscous, hummus, kimchi, "
    "oatmeal, yogurt, waffles, meatballs, shrimp, pumpkin pie",
    "drink": "tea, coffee, milk, cocoa, lemonade, beer, wine, cider, water, espresso, green tea, black "
    "coffee, orange juice, apple juice, ginger ale, mint tea, iced tea, red wine, white wine, hot "
    "chocolate, tomato juice, coconut water, almond milk, root beer, rum, whiskey, gin, vodka, "
    "champagne, cola, sparkling water, cranberry juice, oat milk, herbal tea",
    "sport": "tennis, football, soccer, hockey, golf, rugby, cricket, swimming, running, cycling, boxing, "
    "wrestling, skiing, surfing, rowing, sailing, climbing, judo, karate, fencing, archery, "
    "basketball, baseball, volleyball, badminton, gymnastics, table tennis, ice hockey, horse "
    "riding, skating, polo, snowboarding, diving, squash, handball, weight lifting, martial arts",
    "game": "chess, checkers, poker, bridge, monopoly, scrabble, solitaire, dominoes, backgammon, hide "
    "and seek, darts, bowling, billiards, charades, bingo, rummy, blackjack, marbles, mahjong, "
    "hangman, hopscotch, go fish, pinball, risk, trivia, croquet, tag, video games, card games, "
    "word games",
    "hobby": "painting, drawing, reading, cooking, gardening, fishing, knitting, pottery, hiking, dancing, "
    "singing, photography, baking, sewing, writing, camping, woodworking, bird watching, stamp "
    "collecting, juggling, origami, astronomy, yoga, hunting, sculpture, embroidery, calligraphy, "
    "robotics, genealogy, geology, meditation, magic tricks, model trains, coin collecting, "
    "mountain biking, bee keeping",
    "instrument": "piano, guitar, violin, cello, flute, drums, trumpet, harp, clarinet, saxophone, banjo, "
    "organ, trombone, tuba, oboe, accordion, harmonica, bass, mandolin, viola, bagpipes, ukulele, "
    "lute, keyboard, recorder, xylophone, french horn, double bass, electric guitar, tambourine",
    "language": "English, French, German, Spanish, Italian, Portuguese, Dutch, Swedish, Norwegian, Danish, "
    "Finnish, Polish, Czech, Hungarian, Greek, Turkish, Arabic, Hebrew, Persian, Hindi, Bengali, "
    "Tamil, Thai, Japanese, Chinese, Korean, Vietnamese, Indonesian, Russian, Ukrainian, "
    "Romanian, Bulgarian, Latin, Swahili, Zulu, Irish, Welsh, Icelandic, Basque, Catalan, "
    "Croatian, Serbian, Malay, Mongolian",
    "flower": "rose, tulip, lily, daisy, sunflower, orchid, iris, violet, peony, poppy, lavender, jasmine, "
    "lotus, magnolia, carnation, daffodil, hyacinth, marigold, dahlia, lilac, snowdrop, "
    "buttercup, geranium, camellia, hibiscus, azalea, primrose, bluebell, cherry blossom, water "
    "lily",
    "color": "red, blue, green, yellow, purple, orange, pink, brown, black, white, gray, teal, turquoise, "
    "silver, gold, navy, maroon, olive, beige, cyan, magenta, crimson, indigo, violet, ivory, "
    "lime, coral, lavender, dark green, light blue, dark red, sky blue, pale yellow, deep purple, "
    "bright orange",
    "season": "spring, summer, autumn, winter, early spring, late summer, late autumn, early winter",
    "subject": "history, physics, chemistry, biology, geography, mathematics, music, art, philosophy, "
    "economics, literature, psychology, algebra, geometry, astronomy, politics, religion, "
    "grammar, statistics, computer science, world history, foreign languages, engineering, law, "
    "medicine, sociology, ecology",
    "animal": "horse, elephant, tiger, lion, whale, dolphin, wolf, bear, fox, owl, eagle, penguin, rabbit, "
    "giraffe, zebra, monkey, turtle, snake, shark, octopus, butterfly, bee, deer, otter, panda, "
    "koala, kangaroo, hedgehog, squirrel, swan, raven, falcon, polar bear, sea lion, red panda, "
    "snow leopard",
    "music": "jazz, blues, rock, folk, opera, classical, country, reggae, punk, soul, funk, disco, techno, "
    "gospel, metal, hip hop, swing, salsa, tango, samba, ska, choral, chamber music, film music, "
    "heavy metal",
}


@dataclass(frozen=True, slots=True)
class ValueOptions:
    """Options for drawing values. Shares are probabilities.

    A value of kind ``words``, and with ``open_share`` one of any other kind, has up to ``words_max`` words of
    the vocabulary, and only one word with ``single_share``.
    """

    words_max: int = 3
    open_share: float = 0.4
    single_share: float = 0.6


class Values:
    """Draws values for training or held-out episodes; the same arguments give the same values.

    ``lists`` adds further kinds of values.
    """

    def __init__(
        self,
        words: Sequence[str],
        part: Part,
        options: ValueOptions,
        *,
        seed: int,
        lists: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._random = random.Random(f"values {part} {seed}")
        self._words = [word for word in words if is_held_out(word) == (part == "held-out")]
        self._part = part
        self._options = options
        faker: Any = Faker("en_US")
        faker.seed_instance(self._random.randrange(2**32))
        self._makers: dict[str, Callable[[], str]] = {
            "country": faker.country,
            "street": faker.street_name,
            "company": faker.company,
            "person": lambda: f"{faker.first_name()} {faker.last_name()}",
            "first": faker.first_name,
            # Faker draws dates up to today, so the same seed would give other months on another day.
            "date": lambda: f"{self._random.choice(month_name[1:])} {self._random.randint(1, 28)}",
            "age": lambda: str(self._random.randint(*AGES)),
        }
        for kind, listed in LISTS.items():
            self._makers[kind] = partial(self._random.choice, listed.split(", "))
        for kind, values in (lists or {}).items():
            self._makers[kind] = partial(self._random.choice, values)

    def draw(self, kind: str) -> str:
        """Draw a value of this kind and part, of the vocabulary if 1,000 draws of the kind give none."""
        if kind == "words" or self._random.random() < self._options.open_share:
            return self._phrase()
        for _ in range(1000):
            value = self._makers[kind]()
            held_out = [is_held_out(word) for word in value.split()]
            if (any(held_out) if self._part == "held-out" else not any(held_out)) and "." not in value:
                return value
        return self._phrase()

    def word(self) -> str:
        """Draw one word of this part's vocabulary."""
        return self._random.choice(self._words)

    def _phrase(self) -> str:
        count, most = 1, self._options.words_max
        if most > 1 and self._random.random() >= self._options.single_share:
            count = self._random.randint(2, most)
        return " ".join(self.word() for _ in range(count))


def is_held_out(word: str) -> bool:
    """Return whether values of training episodes must not have this word; case does not matter."""
    digest = hashlib.sha256(word.strip(".,").lower().encode()).digest()
    return digest[0] / 256 < HELD_OUT_SHARE
