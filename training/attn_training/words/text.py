"""English text that synthetic voices read as other speech. A text that says one of the keywords is left out."""

import random

SENTENCES = """
the quick brown fox jumps over the lazy dog
we will meet at the station on monday morning
could you pass me the salt and the pepper please
the weather has been very strange this year
she bought a new pair of shoes for the wedding
they decided to walk home through the park
this machine was built to last a lifetime
he never told anyone about the letter
the children were playing in the garden all afternoon
a glass of water would be very nice
i have no idea what you are talking about
the mirror on the wall was covered in dust
every student must hand in the report by friday
the boy threw a ball of snow at the window
it is a smart idea to save some money
the view from the top of the hill is great
our company makes parts for washing machines
the train to the airport leaves from platform b
the committee will publish its findings next month
i left my umbrella on the bus again
could we have the bill when you get a moment
the river was frozen all the way to the bridge
put the boxes in the corner behind the sofa
my sister studies chemistry in the north
the concert has been moved to a larger hall
he repaired the engine with a piece of wire
a lecture about insects starts at noon
the service in this restaurant was slow
she relaxed in the armchair and read a novel
they compute the average over the whole year
the commuters were waiting on the platform
a smart meter was fitted in the cellar
the mirror in the hall needs a new frame
snow covered the roofs of the village
the boy ran after his dog across the field
from the tower you have a view of the harbour
the glass fell off the shelf and broke
a few glasses of juice are on the table
the garden was full of bees in summer
please remember to water the plants
this road leads through the forest to the lake
nobody knew the answer to that question
the baker opens his shop before sunrise
our neighbours have painted their fence green
an old clock was ticking in the kitchen
the plumber said he would come back later
the teacher asked everybody to be quiet
travel broadens the mind as people say
jars of honey stood in the window
the nervous driver parked very slowly
the cowboy film was filmed in spain
a snowman stood in front of the school
it was a nice evening with a light wind
the parcel was delivered to the wrong house
her aunt lives in athens with her family
a million people watched the match
the antenna on the roof was bent by the storm
the familiar tune made him smile
""".strip().split("\n")

COMMON_WORDS = """
about above across act add afraid after again age agree air almost along always among and angry animal answer any apple april
area arm around arrive art ask away baby back bad ball bank base bath bear beat beautiful because bed begin behind believe
below best better between big bird birthday black blood blue board boat body bone book born both bottle bottom box branch
bread break breakfast breath bright bring brother brown build burn business busy butter buy cake call camera can captain car
card care carry castle cat catch cause centre certain chair chance change cheap cheese choose church city class clean clear
climb clock close cloth cloud coast coat coffee cold collect colour come common complete consider contain continue control
cook cool copy corner correct cost cotton count country course cover create cross cry cup cut dance dangerous dark daughter
day dead decide deep depend desert design develop dictionary die difference difficult dinner direct dirty discover dish
distance doctor dollar door double down draw dream dress drink drop dry dust each early earth east easy eat edge education
egg electric else empty end energy engine enjoy enough enter equal escape evening ever exact example except exercise expect
explain eye face fact fall family famous far farm fast father favourite fear feel field fight figure fill film final find
finger finish first fish flat floor flower fly follow food foot force forest forget form forward free fresh friend front
fruit full funny future game garden general gentle get girl give go gold good government grass great green ground group grow
guess gun hair half hand happen happy hard hat hate have head health hear heart heavy height help high hill history hobby
hold hole holiday home hope horse hospital hot hotel hour house huge hungry hurry hurt husband ice idea imagine important
inch increase information insect inside instrument interest iron island job join joke journey jump just keep key kill king
kitchen knee knife know lady lake land language large last later laugh law lead learn leave left leg lesson letter level
library life like list listen little live lock long look lose lot love low luck lunch machine magazine main make man many map
mark market matter mean measure meat meet member message metal method middle mile milk mind minute miss mistake modern moment
money month moon more morning mother mountain mouth move much muscle museum name narrow nation nature near neck need
neighbour never new news newspaper next nice night noise north nose nothing notice number object ocean offer office old open
opposite orange order other our over own page paint pair paper parent park part partner party pass past pay peace pencil
people perfect perhaps person phone picture piece place plan plane plant plate player pleasure pocket point police poor
position possible potato pound power practice prepare present pretty price prince problem produce promise protect provide
public pull pupil push put quarter queen question quick quiet quite radio rain reach ready reason receive record red refuse
region rest result return rich ride right ring rise river road rock roll roof room round rule run safe sail salad salt same
sand save say school science scissors sea season seat second secret see seem sell send sense sentence serious serve set
several shade shadow shake shape share sharp sheep ship shirt shoe shop short should shoulder shout show side sign silver
similar simple since sing sister size skill skin sky sleep slow small smell smile smoke soap soft some son soon sorry sound
soup south space speak special speed spell spoon sport spread spring square stage stand star start state station stay steam
step still stomach stone story straight strange street strong student study stupid subject such sugar suggest summer sun
support surprise swim table take talk tall taste teach team tear telephone television tell tennis test then thick thin thing
think thirsty throw ticket tie time tired title today together tomato tongue tool tooth top total touch tourist towards town
train travel trouble trousers true trust try turn type uncle under understand until use valley value vegetable very village
visit voice wait wake walk wall want war warm wash waste watch water way weak wear weather wedding week weight welcome west
wet wheel when where which while white why wide wife wild win wind window wine winter wire wise with without woman wonder
wood word work world worry write wrong yard year yellow yesterday yet young zoo
""".split()


def sentences(count, seed=0):
    """`count` texts: sentences, and random common words in a row."""
    rng = random.Random(seed)
    texts = list(SENTENCES)
    while len(texts) < count:
        texts.append(" ".join(rng.choices(COMMON_WORDS, k=rng.randint(4, 9))))
    rng.shuffle(texts)
    return texts[:count]
