"""The model's labels, and which recordings stand for which label."""

WAKE_WORDS = ["alexa", "computer", "jarvis", "smart_mirror", "snowboy", "view_glass"]
FURTHER_WORDS = ["athena", "amelia"]
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
KEYWORDS = WAKE_WORDS + FURTHER_WORDS + DIGITS
LABELS = KEYWORDS + ["unknown", "noise"]
UNKNOWN, NOISE = LABELS.index("unknown"), LABELS.index("noise")

# `hey_computer` contains a keyword; hey_savant is non-commercial and stays out of everything shipped.
EXCLUDED_LABELS = {"hey_computer", "hey_savant"}
EXCLUDED_SOURCES = {"mycroft_heysavant"}

# Said by synthetic voices as `unknown`: parts of the keywords and words that sound like them.
NEAR_MISSES = [
    "alexis", "a lecture", "election", "Alex", "a taxi", "relax", "compute", "commuter", "computing", "compass",
    "company", "jar", "service", "Travis", "garbage", "Java", "nervous", "smart", "mirror", "smart meter", "smartphone",
    "nearer", "snow", "boy", "snowball", "cowboy", "no boy", "view", "glass", "new glass", "few classes", "via",
    "blue grass", "Athens", "antenna", "a tenor", "arena", "Emilia", "a million", "familiar", "Pamela", "aluminium",
    "hero", "won", "to", "tree", "for", "fire", "sick", "heaven", "late", "line", "often", "into", "before", "drive",
    "android", "hey chatterbox", "hello", "please", "music", "play", "stop", "light", "kitchen", "weather", "tomorrow",
    "remember", "open the door", "what time is it", "turn it off", "never mind", "all right", "excuse me", "thank you",
]
SENTENCES = [
    "the quick brown fox jumps over the lazy dog", "we will meet at the station on monday morning",
    "could you pass me the salt and the pepper please", "the weather has been very strange this year",
    "she bought a new pair of shoes for the wedding", "they decided to walk home through the park",
    "this machine was built to last a lifetime", "he never told anyone about the letter",
    "the children were playing in the garden all afternoon", "a glass of water would be very nice",
    "i have no idea what you are talking about", "the mirror on the wall was covered in dust",
    "every student must hand in the report by friday", "the boy threw a ball of snow at the window",
    "it is a smart idea to save some money", "the view from the top of the hill is great",
    "our company makes parts for washing machines", "the train to the airport leaves from platform b",
]
SPELLING = {"smart_mirror": "smart mirror", "view_glass": "view glass"}
