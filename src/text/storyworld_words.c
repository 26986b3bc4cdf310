// Every noun may get every adjective of its class, so a class is a set of things that can sensibly
// be any of them. Words are common, lower-case and single, so that a small vocabulary holds each as
// one token.
#include "text/storyworld_tables.h"

static const story_noun water_nouns[] = {{"lake", "by"}, {"river", "by"},  {"pond", "by"},
                                         {"sea", "by"},  {"stream", "by"}, {"pool", "by"},
                                         {NULL, NULL}};
static const story_adjective water_adjectives[] = {
    {"deep", "No one could see the bottom."},
    {"calm", "There was not one wave on it."},
    {"cold", "{H} put one toe in and pulled it out again."},
    {"clear", "{H} could count all the fish."},
    {"wide", "The other side was far away."},
    {"icy", "Bits of ice floated on it like glass."},
    {NULL, NULL}};

static const story_noun land_nouns[] = {{"forest", "in"}, {"garden", "in"}, {"park", "in"},
                                        {"hill", "on"},   {"beach", "on"},  {"field", "in"},
                                        {"island", "on"}, {"valley", "in"}, {"meadow", "in"},
                                        {"jungle", "in"}, {NULL, NULL}};
static const story_adjective land_adjectives[] = {
    {"quiet", "There was no sound at all."},
    {"sunny", "{H} closed {hp} eyes and felt the light on {hp} face."},
    {"windy", "Leaves flew through the air."},
    {"grassy", "{H} took off {hp} shoes and felt the grass."},
    {"muddy", "Soon there was mud on {hp} shoes."},
    {"foggy", "{H} could see only a few steps ahead."},
    {"wild", "Nobody had ever cut the bushes there."},
    {NULL, NULL}};

static const story_noun building_nouns[] = {{"house", "in"},   {"castle", "in"},  {"barn", "in"},
                                            {"school", "at"},  {"shop", "in"},    {"tower", "in"},
                                            {"kitchen", "in"}, {"library", "in"}, {"bakery", "in"},
                                            {"market", "at"},  {"tent", "in"},    {NULL, NULL}};
static const story_adjective building_adjectives[] = {
    {"crowded", "{H} had to squeeze past a lot of people."},
    {"dusty", "It made {h} sneeze three times."},
    {"cozy", "{H} wanted to stay there all day."},
    {"bright", "Light came in from every side."},
    {"noisy", "{H} had to shout to be heard."},
    {"dim", "{H} waited until {hp} eyes could see."},
    {"chilly", "{H} rubbed {hp} hands together."},
    {NULL, NULL}};

static const story_noun hard_nouns[] = {{"bell", ""},   {"key", ""},  {"cup", ""},  {"ring", ""},
                                        {"spoon", ""},  {"coin", ""}, {"lamp", ""}, {"whistle", ""},
                                        {"mirror", ""}, {"box", ""},  {NULL, NULL}};
static const story_adjective hard_adjectives[] = {{"shiny", "It sparkled in the light."},
                                                  {"heavy", "{H} needed both hands to lift it."},
                                                  {"rusty", "It left brown dust on {hp} fingers."},
                                                  {"smooth", "It felt nice to touch."},
                                                  {"tiny", "It was no bigger than a thumb."},
                                                  {"dented", "It had been dropped many times."},
                                                  {NULL, NULL}};

static const story_noun soft_nouns[] = {{"hat", ""},   {"doll", ""}, {"blanket", ""},
                                        {"scarf", ""}, {"coat", ""}, {"pillow", ""},
                                        {"kite", ""},  {"bag", ""},  {NULL, NULL}};
static const story_adjective soft_adjectives[] = {
    {"soft", "{H} liked to rub it against {hp} cheek."},
    {"fluffy", "It looked like a little cloud."},
    {"torn", "There was a long hole in one side."},
    {"pretty", "People always stopped to look at it."},
    {"thin", "One could see the light through it."},
    {"patched", "It had been mended again and again."},
    {NULL, NULL}};

static const story_noun toy_nouns[] = {{"boat", ""},  {"train", ""}, {"wagon", ""},
                                       {"robot", ""}, {"truck", ""}, {NULL, NULL}};
static const story_adjective toy_adjectives[] = {
    {"wooden", "It smelled a little like a tree."},
    {"new", "It did not have one scratch."},
    {"squeaky", "It made a funny sound whenever it moved."},
    {"sturdy", "It never broke, even when it fell."},
    {NULL, NULL}};

static const story_noun animal_nouns[] = {
    {"dog", ""},  {"cat", ""},   {"turtle", ""}, {"rabbit", ""},   {"fox", ""},  {"owl", ""},
    {"bear", ""}, {"mouse", ""}, {"horse", ""},  {"duck", ""},     {"frog", ""}, {"goat", ""},
    {"hen", ""},  {"pig", ""},   {"bee", ""},    {"squirrel", ""}, {NULL, NULL}};
static const story_adjective animal_adjectives[] = {
    {"slow", "It took the {z} a long time to go anywhere."},
    {"fast", "Nobody could ever catch it."},
    {"clever", "It always had a plan."},
    {"shy", "It liked to hide when people came."},
    {"lazy", "It liked to lie down and do nothing."},
    {"brave", "It was not afraid of anything."},
    {"hungry", "It was always looking for something to eat."},
    {"sleepy", "It yawned again and again."},
    {"gentle", "It never hurt anyone."},
    {"playful", "It wanted to have fun all the time."},
    {NULL, NULL}};

static const story_noun person_nouns[] = {{"doctor", ""}, {"teacher", ""}, {"baker", ""},
                                          {"farmer", ""}, {"king", ""},    {"queen", ""},
                                          {"sailor", ""}, {"painter", ""}, {"fisherman", ""},
                                          {"tailor", ""}, {"wizard", ""},  {NULL, NULL}};
static const story_adjective person_adjectives[] = {
    {"kind", "The {z} always helped others."},
    {"proud", "The {z} liked to stand up very straight."},
    {"wise", "People came to the {z} with hard questions."},
    {"funny", "The {z} knew a lot of jokes."},
    {"strict", "The {z} did not like it when people were late."},
    {"busy", "The {z} had a lot of work to do."},
    {"polite", "The {z} never forgot to say please."},
    {"patient", "The {z} never got angry."},
    {"generous", "The {z} gave something to everyone who asked."},
    {"strong", "The {z} could carry three people at once."},
    {NULL, NULL}};

static const story_noun food_nouns[] = {
    {"cake", ""},   {"pie", ""},      {"apple", ""}, {"pear", ""},    {"cookie", ""},
    {"muffin", ""}, {"sandwich", ""}, {"plum", ""},  {"pancake", ""}, {NULL, NULL}};
static const story_adjective food_adjectives[] = {
    {"sweet", "It tasted like sugar."},
    {"warm", "It was nice to hold in both hands."},
    {"tasty", "One bite was never enough."},
    {"fresh", "The smell of it filled the air."},
    {"sour", "It made {h} squeeze {hp} eyes shut."},
    {"sticky", "Bits of it stuck to {hp} fingers."},
    {"huge", "There was enough of it for a whole family."},
    {NULL, NULL}};

static const story_noun barrier_nouns[] = {{"gate", ""}, {"wall", ""},   {"fence", ""},
                                           {"door", ""}, {"bridge", ""}, {"ladder", ""},
                                           {"log", ""},  {NULL, NULL}};
static const story_adjective barrier_adjectives[] = {
    {"slippery", "{H} almost fell."},
    {"broken", "One piece of it was missing."},
    {"wobbly", "It moved from side to side."},
    {"crooked", "It leaned a little to the left."},
    {"narrow", "There was very little room to pass."},
    {"mossy", "Moss had been growing on it for years."},
    {NULL, NULL}};

const story_class_words sg_story_words[STORY_CLASSES] = {
    [STORY_WATER] = {"water", water_nouns, water_adjectives},
    [STORY_LAND] = {"land", land_nouns, land_adjectives},
    [STORY_BUILDING] = {"building", building_nouns, building_adjectives},
    [STORY_HARD] = {"thing", hard_nouns, hard_adjectives},
    [STORY_SOFT] = {"cloth", soft_nouns, soft_adjectives},
    [STORY_TOY] = {"toy", toy_nouns, toy_adjectives},
    [STORY_ANIMAL] = {"animal", animal_nouns, animal_adjectives},
    [STORY_PERSON] = {"person", person_nouns, person_adjectives},
    [STORY_FOOD] = {"food", food_nouns, food_adjectives},
    [STORY_BARRIER] = {"barrier", barrier_nouns, barrier_adjectives},
};

const char *const sg_story_girls[] = {"Lily",  "Mia",  "Anna", "Rosa", "Nora", "Ella",
                                      "Zoe",   "Emma", "Lucy", "Ruby", "Sara", "Jane",
                                      "Molly", "Ivy",  "Amy",  "Kate", NULL};
const char *const sg_story_boys[] = {"Tom", "Ben",   "Max",  "Sam",  "Leo",  "Jack",
                                     "Tim", "Oscar", "Finn", "Dan",  "Paul", "Hugo",
                                     "Ned", "Peter", "Joe",  "Adam", NULL};
const char *const sg_story_colours[] = {"red",    "blue", "green", "yellow", "purple",
                                        "orange", "pink", "white", "black",  NULL};
