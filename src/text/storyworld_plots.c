// The plots. Each brings back what it introduced: the hero's name and pronouns, the colour of the
// object, the adjectives of the nouns, who promised what. Fixed text names no noun of the tables,
// so that nothing but the table says what a noun is like.
#include "text/storyworld_tables.h"

const char *const sg_story_macros[26] = {
    // opening
    ['O' - 'A'] = "[Once upon a time there was|There once was|Long ago there was|Once there was|In "
                  "a small town there lived|Far away there lived] a [little |young |small |]{hk} "
                  "named {h}.",
    // time
    ['T' - 'A'] = "[One day|One morning|One afternoon|Early one day|After breakfast|On a fine day|"
                  "One day in [spring|summer|autumn]]",
    // went
    ['W' - 'A'] = "[went|walked|ran|skipped|hurried]",
    // a cheerful way to say thanks
    ['K' - 'A'] = "\"Thank you[ so much| very much|]!\" [said|cried|called] {h}.",
    // what nobody wanted is found in a search
    ['J' - 'A'] = "[a feather|a button|two nuts|a lost shoe|some string|a snail|an empty jar|a "
                  "spider]",
    // hiding places
    ['U' - 'A'] = "[under a bench|behind a stone|in the tall grass|under some leaves|next to a "
                  "tree|in a small hole|behind a bush]",
    // joy
    ['Y' - 'A'] =
        "[{H} was so happy that {hs} [danced|jumped up and down|laughed out loud|clapped {hp} "
        "hands].|{H} smiled [from ear to ear|all the way home|for the rest of the day].|{H} felt "
        "[very happy|glad|better] [again|now].]",
    // closing
    ['Z' - 'A'] =
        "[That night {h} told [{hp} mother|{hp} father|{hp} grandma] all about it.|And {hs} never "
        "forgot that day.|It was the best day of the [week|year|summer].|{H} [fell asleep|went to "
        "bed] with a smile that night.|The next day, {hs} wanted to do it all again.]",
    // closing when there is a friend
    ['E' - 'A'] =
        "[@Z|From that day on, {h} and {f} were the best of friends.|{H} was glad to have "
        "a friend like {f}.]",
    // sorrow
    ['S' - 'A'] =
        "[{H} began to cry.|{H} felt very sad.|Tears ran down {hp} face.|{H} did not know "
        "what to do.|{H} sat down and put {hp} head in {hp} hands.]",
    // friend arrives
    ['F' - 'A'] = "[Just then|A moment later|Soon|Then], {hp} friend {f} came by.",
    // asks what is wrong
    ['Q' - 'A'] = "\"[What is wrong|Why are you so sad|What happened|Can I help you], {h}?\" asked",
};

const char *const sg_story_plots[] = {
    // Something is lost, and found by asking.
    "@O {H} had {a} {c} {o}[ and took it everywhere| and loved it very much|, a gift from {hp} "
    "grandma|]. {=o}\n\n"
    "@T, {h} @W to the {p} with the {c} {o}. {=p} [{H} played there until [noon|it was late|{hs} "
    "was tired].|{H} ran around and sang [a song|a little song|silly songs].] [But when|When] {hs} "
    "came home, the {o} was gone. \"[Oh no|Oh dear|Help]! Where is my {c} {o}?\" cried {h}. @S\n\n"
    "{H} [went|ran] back to the {pa} {p} [to look for it|as fast as {hs} could]. There {hs} met "
    "{a} "
    "{m}. {=m} \"[Have you seen|Did you see] {a} {c} {o}?\" asked {h}. \"[No, I have not|No, I did "
    "not],\" said the {m}, \"but [I will help you look|I can help you|two can look better than "
    "one].\" They looked @U, but they found only @J.[ They looked @U, and there was only @J.|]\n\n"
    "[Then|After that|At last] they [went|walked] to the {q}. {=q} [The|There the] {w} was waiting "
    "for them. {=w} \"[I found this|This was lying] {pi} the {p}[ this morning|],\" said the {w}. "
    "\"[Is it yours|Is this yours]?\" It was the {c} {o}! @K The {ma} {m} was glad too. @Y @Z\n",

    // A present is brought to somebody.
    "@O {H} [wanted to find|was going to bring] a present for the {w}[, who was ill|, who had a "
    "birthday|]. {=w} [So {hs}|{H}] [found|bought|picked out] {a} {x}. {=x}\n\n"
    "@T, {hs} put the {x} in {a} {c} basket and @W [off|away|down the street]. On the way, {hs} "
    "came to {a} {b}. {=b} \"[I cannot get past the {b},\" said|How can I get past the {b}?\" "
    "asked|The {b} is in my way,\" said] {h}. @S\n\n"
    "@F @Q {f}. {H} showed {fo} the {b}. \"[Take my hand|Hold my hand|Follow me|Do as I do],\" "
    "said "
    "{f}. \"We will go [slowly|together|step by step].\" [They took one step and then "
    "another.|They "
    "counted to three and jumped.|They held hands and did not look back.] Soon the {ba} {b} was "
    "behind them, and the {c} basket with the {x} was safe.\n\n"
    "The {w} lived {pi} the {p}. {=p} \"[Look what we have|We have something] for you!\" said {h} "
    "and {f}. The {w} [looked into|opened] the {c} basket and saw the {xa} {x}. \"[What a nice "
    "surprise|How lovely|Nobody ever gave me such a thing],\" said the {w}. \"[Let us share it|We "
    "will eat it together|There is a piece for each of us].\" [So they sat down {pi} the {p} and "
    "ate the {x}.|They ate the {x} until nothing was left.] @Y @E\n",

    // An animal is in trouble.
    "@O {Hs} [liked|loved] to [walk|play] {pi} the {p}. {=p}\n\n"
    "@T, {h} heard a [small|strange|sad] voice. \"Help! Help!\" it called. {H} looked @U, and "
    "there "
    "was {a} {m}. {=m} Its [leg|foot|tail] was stuck [in|under] {a} {b}. {=b} \"Do not [worry|be "
    "afraid|cry],\" said {h}. {Hs} [pulled and pulled|pushed as hard as {hs} could|tried once and "
    "tried again], but it did not work.\n\n"
    "Then {h} had an idea. {Hs} ran home and got {hp} {c} {o}. {=o} [With the {o}, {hs} made the "
    "gap "
    "a little bigger.|{Hs} put the {o} under the {b} and pushed.] [Pop!|Crack!|One, two, three!] "
    "The "
    "{m} was free. \"Thank you, {h},\" said the {m}. \"[One day I will help you too|I will not "
    "forget this|Now we are friends].\"\n\n"
    "[A week later|Some days later|The next morning], {h} [got lost|lost {hp} way] near the {q}. "
    "{=q} @S Then {hs} heard a voice that {hs} knew. It was the {ma} {m}! \"[Come with me|I know "
    "the "
    "way|Follow me],\" it said, and it [took|brought] {h} home. \"You helped me with your {c} {o}, "
    "and now I have helped you,\" said the {m}. @Y @Z\n",

    // A race.
    "@O {H} had a friend named {f}. [Both of them loved to run.|They played together every "
    "day.|They "
    "both wanted to be the first at everything.]\n\n"
    "@T, they met {pi} the {p}. {=p} \"[Let us race|I can run faster than you], {f}!\" said {h}. "
    "\"[We will run|Let us run] to the {q}. The {w} [can watch|will see who wins].\" {=w} "
    "\"[Yes|All "
    "right|Good idea],\" said {f}, \"and the winner gets {a} {x}.\" {=x}\n\n"
    "One, two, three, go! [At first {h} was ahead.|{H} ran and ran.|{H} was quick.] But there was "
    "{a} {b} in the middle. {=b} {F} [tripped|slipped] and fell down. \"Ouch! My [knee|foot] "
    "hurts!\" cried {f}. {H} could hear {fo}. [{H} could have won now|The {q} was not far away], "
    "but "
    "{hs} [stopped|turned around]. {Hs} ran back to the {ba} {b} and helped {fo} up.\n\n"
    "[Slowly|Arm in arm|Together] they walked to the {q}. {=q} \"Who [won|was first]?\" asked the "
    "{w}. \"[Nobody|Both of us|We did]!\" said {h} and {f}[ at the same time|]. The {wa} {w} "
    "laughed "
    "and gave them the {x}. They [cut|broke] it in two and each ate one half of the {xa} {x}. @Y "
    "@E\n",

    // Two want the same thing.
    "@O @T, {h} and {hp} friend {f} were {pi} the {p}. {=p} [Suddenly|All at once|Then] they saw "
    "something {c} @U. It was {a} {o}! {=o}\n\n"
    "\"[It is mine|I saw it first|Give it to me],\" said {h}. \"No, [it is mine|I saw it first|I "
    "want it],\" said {f}. {H} pulled on one side of the {c} {o}, and {f} pulled on the other. "
    "[They "
    "shouted so much|They were so loud] that {a} {m} [woke up|ran away|looked at them in "
    "surprise]. "
    "{=m}\n\n"
    "[The {w} heard them and came.|The {w} came to see what was wrong.] {=w} \"[Why do you "
    "fight|What is this noise], {h}?\" asked the {w}. {H} [looked at the ground|turned red] and "
    "told "
    "the story of the {o}. \"[I know what to do|Here is an idea|Listen],\" said the {w}. \"{H} can "
    "have the {o} [today|in the morning], and {f} can have it [tomorrow|in the evening].\" \"[That "
    "is fair|We can do that|Sorry, {h}],\" said {f}. \"[I am sorry too|Let us share],\" said "
    "{h}.\n\n"
    "[So they|And they] took the {c} {o} to the {q} and [played with it|took turns] until it was "
    "late. {=q} [Even the {ma} {m} came to watch.|The {wa} {w} was pleased.|It was more fun with "
    "two.] @Y @E\n",

    // Somebody is afraid of a place.
    "@O {H} was afraid of only one thing, and that was the {p}. {=p} [Every time {hs} had to go "
    "there, {hs} began to shake.|{Hs} always walked the long way around it.|At night {hs} dreamed "
    "of "
    "it.]\n\n"
    "@T, the {w} came to {h}. {=w} \"[Can you help me, {h}?\" asked|I need your help, {h},\" said] "
    "the {w}. "
    "\"[I "
    "left|I forgot] my {c} {o} {pi} the {p}, and I [cannot|have no time to] get it myself.\" {H} "
    "wanted to say no. But {hs} [took a deep breath|thought of the {wa} {w}] and said, \"[Yes|All "
    "right], I will go.\"\n\n"
    "On the way {hs} met {a} {m}. {=m} \"Where are you going, {h}?\" asked the {m}. \"[I have to "
    "go "
    "to|I must go to|I am going to] the {p}, and I am afraid,\" said {h}. \"[Then I will come with "
    "you|You do not have to go alone|Let us go together],\" said the {m}. [It felt good not to be "
    "alone.|They sang to feel better.|They told each other riddles.]\n\n"
    "[At last|Soon] they were there. [Nothing bad happened.|It was not so bad at all.] They looked "
    "@U and found @J. Then {h} saw something {c}. It was the {o}! {=o} {Hs} [picked it up|took it] "
    "and @W to the {q}, where the {w} was waiting. {=q} \"[Well done|You did it|I knew you could "
    "do "
    "it],\" said the {w}. \"[Were you afraid|Was it hard]?\" \"[Only a little|At first I was|Not "
    "with the {m} next to me],\" said {h}, and gave the {c} {o} back. @Y @Z\n",

    // A wish, and a trade.
    "@O {H} [wanted|wished for] only one thing. {Hs} wanted the {c} {o} {qi} the {q}. {=q} [Every "
    "day {hs} went there and looked at it.|{Hs} thought of it all the time.] {=o} But {h} had no "
    "money. All {hs} had was {a} {x}. {=x}\n\n"
    "@T, {h} met {a} {m} {pi} the {p}. {=m} \"I am [so weak|so tired]. I have not eaten [all "
    "day|for "
    "two days],\" said the {m}. {H} looked at the {xa} {x}. [{Hs} was hungry too.|It was all {hs} "
    "had.] \"[Here|Please], take my {x},\" said {h}. The {m} ate it [all|in one bite] and said, "
    "\"[That was good|You are my friend now]. What do you wish for, {h}?\" \"[I wish for|I would "
    "like] the {c} {o},\" said {h}, \"but I cannot pay for it.\"\n\n"
    "The {m} [thought for a moment|nodded]. It led {h} to {a} {b} {pi} the {p}. {=b} {=p} There, "
    "[hidden under leaves|in a small hole|behind a stone], were three pieces of gold. \"[Take "
    "them|They are for you],\" said the {m}. @K\n\n"
    "{H} @W back to the {qa} {q} and bought the {c} {o}. [The {w} who sold it was surprised.|The "
    "{w} "
    "counted the gold twice.] {=w} \"[Where did you get this|Who gave you so much gold]?\" asked "
    "the "
    "{w}. \"From a friend,\" said {h}. @Y [Every evening {hs} shared {a} {x} with the {ma} "
    "{m}.|And "
    "the {m} always got half of every {x}.] @Z\n",

    // Work that is too hard for one.
    "@O {Hs} helped the {w} {pi} the {p} [every day|on Sundays|after school]. {=w} {=p}\n\n"
    "@T, the {w} said, \"[The {b} has to be mended|We must mend the {b}] before it gets dark, {h}, "
    "and I have to go to the {q}. Can you do it?\" {=b} \"[Yes, I can|Of course],\" said {h}. {Hs} "
    "worked and worked, but the {b} was too much for one {hk}. @S\n\n"
    "@F {Fs} had {a} {c} {o} with {fo}. {=o} @Q {f}. \"[The {b} is too much for me|I cannot do "
    "this "
    "alone],\" said {h}. \"[We can use my {o}|My {o} can help us|Let us try it with my {o}],\" "
    "said "
    "{f}. [{H} held the {o}, and {f} pushed.|{F} held the {c} {o}, and {h} pushed.] Even {a} {m} "
    "came "
    "to help. {=m}\n\n"
    "When the {w} came back from the {q}, [everything was done|the work was done]. \"[How did you "
    "do "
    "it|Did you do this alone]?\" asked the {w}. \"{F} helped me with the {c} {o}, and so did the "
    "{m},\" said {h}. The {wa} {w} [was pleased|smiled] and gave [them|each of them] {a} {x}. {=x} "
    "@Y "
    "@E\n",

    // A short one: a meal is shared.
    "@O @T, {h} @W to the {p} with {a} {x}. {=p} {H} sat down [under a tree|in the tall grass|on a "
    "big stone|on a bench] and took out the {x}. {=x} [Then|"
    "Suddenly|At that moment] {a} {m} [came by|came out|looked at {ho}]. {=m}\n\n"
    "\"[Would you like some of|Do you want a bite of|Shall we share] my {x}?\" asked {h}. \"[Yes, "
    "please|Oh, yes|I would love to],\" said the {m}. [So they|And so they] sat {pi} the {pa} {p} "
    "and [ate|finished] the {x} together.[ Then the {ma} {m} went home.| "
    "The {m} sang a song to say thanks.|] @Y @Z\n",

    // A short one: something is mended.
    "@O {Hp} [mother|father|grandma] had given {ho} {a} {c} {o}. {=o} [But one day it fell and "
    "broke.|But now a part of it was gone.|But then it fell into a hole and broke.] @S\n\n"
    "{H} took the {c} {o} to the {w} {qi} the {q}. {=w} {=q} \"Can you [mend|fix|repair] my {o}?\" "
    "asked {h}. \"[Let me see|Give it to me|I will try],\" said the {w}. [It took all day.|{H} "
    "waited and waited.|{H} held the {o}, and the {w} worked.] In the evening the {c} {o} was "
    "whole again. @K[ The {wa} {w} smiled.| The {w} did not want any money for it.|] @Z\n",

    NULL,
};
