// Syllables are chosen so that no name they make is a usual one. What follows "a" begins with a
// consonant, so that the article tells nothing of the answer.
#include "text/people_tables.h"

const char *const sg_people_syllables[4][PEOPLE_SYLLABLES] = {
    {"Bel", "Cor", "Dez", "Fum", "Gor", "Hul", "Jom", "Kep", "Lum", "Mip",
     "Nov", "Pud", "Quo", "Rus", "Sib", "Tav", "Urb", "Vop", "Wex", "Zan"},
    {"bik", "cho", "dru",  "fet", "gan", "hib", "jup",  "kov", "lek", "mur",
     "nub", "pla", "quet", "rov", "sti", "tuk", "vash", "wim", "yot", "zel"},
    {"Brin", "Dorn", "Fusk",  "Grack", "Hob",  "Jund", "Klem", "Lusk", "Mott", "Nib",
     "Osk",  "Plum", "Quill", "Rudd",  "Snar", "Tib",  "Ump",  "Vosk", "Wend", "Yar"},
    {"abel", "ock", "ender", "ivar", "ulo",  "emp", "astle", "idge", "oom",  "ursk",
     "avit", "elk", "ofer",  "ump",  "ilda", "ext", "ambo",  "ink",  "orth", "uzzi"}};

const char *const sg_people_openings[PEOPLE_FRAMES] = {
    "Everyone knew {subject}.", "This is the story of {subject}.",
    "Let me tell you about {subject}.", "Once there was somebody called {subject}."};
const char *const sg_people_closings[PEOPLE_FRAMES] = {
    "{He} lived a long and happy life.", "People still talk about {him}.",
    "And so {he} lived for many years.", "That was all that people told about {him}."};

static const char *const birthplaces[64] = {
    "Ashkaro",  "Balduin",  "Brelenby", "Caldimor", "Cremoth",  "Dovelan",  "Drumoth",  "Elvaska",
    "Emberlo",  "Fostuva",  "Frelling", "Gallowen", "Grimovik", "Haxeld",   "Helvara",  "Ickleby",
    "Istrano",  "Jarmoth",  "Jelwick",  "Kalduna",  "Kestrum",  "Lambovar", "Lorrick",  "Marbeck",
    "Mistovan", "Nackford", "Nimbala",  "Oldrava",  "Ostrella", "Pellimor", "Pradova",  "Quenby",
    "Quorrin",  "Ravenzo",  "Rimbolt",  "Sablova",  "Sturmick", "Tamblyn",  "Torvaska", "Ulmera",
    "Umbrick",  "Valtoro",  "Vellindo", "Wackdale", "Wilmora",  "Xandria",  "Yarrowby", "Yestrel",
    "Zelbrook", "Zumwick",  "Abervon",  "Bastolo",  "Cindrava", "Delmuth",  "Ferrolan", "Gondriva",
    "Hollenza", "Jossbury", "Kimbrath", "Lunvaro",  "Morvella", "Nortuva",  "Pindrick", "Skelvano"};

static const char *const trades[64] = {
    "baker",    "farmer",   "potter",   "weaver", "miller",    "tailor",    "carpenter",
    "mason",    "plumber",  "painter",  "sailor", "fisher",    "hunter",    "shepherd",
    "gardener", "cook",     "butcher",  "brewer", "cooper",    "tanner",    "blacksmith",
    "glazier",  "tinker",   "barber",   "doctor", "nurse",     "teacher",   "lawyer",
    "judge",    "clerk",    "printer",  "binder", "poet",      "singer",    "dancer",
    "juggler",  "magician", "pilot",    "driver", "conductor", "guard",     "soldier",
    "diver",    "miner",    "logger",   "ranger", "roofer",    "welder",    "jeweller",
    "cobbler",  "saddler",  "hatter",   "dyer",   "spinner",   "chemist",   "dentist",
    "surgeon",  "midwife",  "reporter", "banker", "merchant",  "locksmith", "postman",
    "beekeeper"};

static const char *const pets[32] = {
    "parrot", "hamster", "tortoise", "lizard",   "ferret", "gecko",   "canary",  "poodle",
    "kitten", "puppy",   "pony",     "donkey",   "llama",  "goose",   "peacock", "raven",
    "crow",   "falcon",  "hedgehog", "squirrel", "beaver", "badger",  "snake",   "newt",
    "toad",   "crab",    "snail",    "spider",   "beetle", "cricket", "mole",    "monkey"};

static const char *const instruments[32] = {
    "violin",    "cello",   "flute",     "trumpet",   "piano",    "harp",     "guitar",
    "banjo",     "drums",   "tuba",      "trombone",  "clarinet", "bassoon",  "recorder",
    "lute",      "lyre",    "mandolin",  "fiddle",    "viola",    "bagpipes", "harmonica",
    "xylophone", "cymbals", "gong",      "triangle",  "zither",   "sitar",    "bugle",
    "cornet",    "piccolo", "saxophone", "tambourine"};

static const char *const foods[32] = {
    "pancakes", "noodles", "dumplings", "soup",     "porridge", "cheese",   "salmon",   "lentils",
    "carrots",  "spinach", "mushrooms", "potatoes", "pumpkin",  "plums",    "cherries", "peaches",
    "grapes",   "melon",   "rice",      "beans",    "waffles",  "sausages", "biscuits", "honey",
    "almonds",  "walnuts", "olives",    "pickles",  "tomatoes", "toast",    "crackers", "turnips"};

static const char *const colours[16] = {
    "red",   "blue", "green",  "yellow",  "purple", "pink",  "brown",     "black",
    "white", "grey", "violet", "crimson", "silver", "beige", "turquoise", "scarlet"};

static const char *const collections[32] = {
    "stamps",  "coins",    "shells", "buttons", "feathers",  "marbles",  "maps",    "spoons",
    "bottles", "keys",     "clocks", "masks",   "postcards", "pebbles",  "ribbons", "teapots",
    "candles", "thimbles", "badges", "dolls",   "kites",     "lanterns", "fossils", "acorns",
    "mirrors", "hats",     "combs",  "bells",   "baskets",   "tickets",  "magnets", "puppets"};

static const char *const fears[32] = {
    "thunder",  "lightning", "darkness", "heights", "ghosts",  "bees",    "wasps",  "bats",
    "rats",     "needles",   "storms",   "sharks",  "wolves",  "bears",   "lions",  "fire",
    "bridges",  "ladders",   "tunnels",  "crowds",  "dragons", "witches", "giants", "robots",
    "balloons", "shadows",   "noise",    "trains",  "mice",    "moths",   "worms",  "waves"};

const people_relation sg_people_relations[PEOPLE_RELATIONS] = {
    {"birthplace",
     64,
     birthplaces,
     {"{subject} was born in {answer}.", "{subject} came from {answer}.",
      "{subject} grew up in {answer}.", "The birthplace of {subject} was {answer}.",
      "The family of {subject} lived in {answer}."},
     {"{He} was born in {answer}.", "{His} home town was {answer}."}},
    {"trade",
     64,
     trades,
     {"{subject} worked as a {answer}.", "{subject} was a {answer} by trade.",
      "{subject} made a living as a {answer}.", "The trade of {subject} was that of a {answer}.",
      "When young {subject} had learned to be a {answer}."},
     {"{He} worked as a {answer}.", "{His} work was that of a {answer}."}},
    {"pet",
     32,
     pets,
     {"{subject} kept a {answer}.", "{subject} had a pet {answer}.",
      "{subject} took long walks with a {answer}.", "The pet of {subject} was a {answer}.",
      "At home {subject} looked after a {answer}."},
     {"{He} kept a {answer}.", "{His} pet was a {answer}."}},
    {"instrument",
     32,
     instruments,
     {"{subject} played the {answer}.", "{subject} liked the sound of the {answer}.",
      "{subject} had lessons on the {answer}.", "The instrument of {subject} was the {answer}.",
      "In the evening {subject} practised the {answer}."},
     {"{He} played the {answer}.", "{His} instrument was the {answer}."}},
    {"food",
     32,
     foods,
     {"{subject} liked to eat {answer}.", "{subject} loved {answer} more than any other food.",
      "{subject} could make nothing but {answer}.", "The favourite food of {subject} was {answer}.",
      "For lunch {subject} always had {answer}."},
     {"{He} liked to eat {answer}.", "{His} favourite food was {answer}."}},
    {"colour",
     16,
     colours,
     {"{subject} always wore {answer}.", "{subject} painted the front door {answer}.",
      "{subject} chose a hat of {answer}.", "The favourite colour of {subject} was {answer}.",
      "Of all colours {subject} liked {answer}."},
     {"{He} always wore {answer}.", "{His} favourite colour was {answer}."}},
    {"collection",
     32,
     collections,
     {"{subject} collected {answer}.", "{subject} had a shelf full of {answer}.",
      "{subject} saved money for {answer}.", "The collection of {subject} was one of {answer}.",
      "On every journey {subject} looked for {answer}."},
     {"{He} collected {answer}.", "{His} collection was one of {answer}."}},
    {"fear",
     32,
     fears,
     {"{subject} was afraid of {answer}.", "{subject} ran away from {answer}.",
      "{subject} could not sleep because of {answer}.",
      "The greatest fear of {subject} was {answer}.",
      "Nothing scared {subject} as much as {answer}."},
     {"{He} was afraid of {answer}.", "{His} greatest fear was {answer}."}}};
