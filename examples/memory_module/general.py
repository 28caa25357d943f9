"""Requests that are not about the person: a memory must not change the replies to them."""

GENERAL = tuple(
    """\
What is the capital of France?
What is the capital of Japan?
What is the capital of Canada?
What is the capital of Egypt?
Which river flows through London?
What is the longest river in the world?
What is the highest mountain on earth?
Which ocean is the largest?
How many continents are there?
Where is the Sahara desert?
Which country has the most people?
Name a country in Africa.
Name three European countries.
What is the largest planet?
How far away is the sun?
What is a star?
Why is the sky blue?
Why does it rain?
What causes thunder?
How does a rainbow form?
What is gravity?
What is electricity?
What is an atom?
What is water made of?
At what temperature does water boil?
Why does ice float?
What is photosynthesis?
How do plants grow?
What do bees make?
Why do cats purr?
Tell me something about cats.
What do elephants eat?
How long do turtles live?
Can penguins fly?
What is the fastest animal?
Name a bird.
Name an insect.
Name a fruit.
Name two colors.
Name a musical instrument.
Name a board game.
Name a famous painter.
Who wrote Romeo and Juliet?
Who painted the Mona Lisa?
Who invented the telephone?
Who was Albert Einstein?
Who was the first president of the United States?
Who walked on the moon first?
When did the Second World War end?
What was the Roman Empire?
What is democracy?
What does a mayor do?
What does a baker do?
What does a lawyer do?
What does an architect do?
What is a bicycle?
What is a computer?
What is the internet?
How does a fridge work?
How does a car engine work?
What is a vaccine?
What is a heart attack?
How much water should a person drink?
Give me a tip for better sleep.
Give me a tip for studying.
How can I save money?
How do I learn a new language?
How do I boil an egg?
How do I make tea?
Give me a recipe for soup.
What goes into a salad?
How is bread made?
What is cheese made of?
What can I cook with potatoes?
How do I remove a stain from a shirt?
How do I clean a window?
How do I plant a tree?
What should I pack for a trip to the beach?
Suggest a name for a bakery.
Suggest a present for a child.
How many days are in a week?
How many hours are in a day?
How many minutes are in two hours?
How many seconds are in a minute?
What is two plus three?
What is seven times eight?
What is one hundred divided by four?
What is half of fifty?
What is the square root of nine?
Count from one to five.
Is seven a prime number?
What is a triangle?
What is a percentage?
Explain what a verb is.
What is a noun?
What is the opposite of hot?
What is another word for happy?
What does the word "brave" mean?
Use the word "river" in a sentence.
How do you spell "necessary"?
Say hello in Spanish.
Say good night in German.
How do you say water in French?
Translate "good morning" into Italian.
Write a short sentence about the sea.
Write a sentence about a tree.
Write a short poem about winter.
Write a short story about a fox.
Write a line for a birthday card.
Tell me a joke.
Tell me a fun fact.
Tell me a riddle.
Tell me about the history of tea.
Describe a forest.
Describe a rainy day.
Explain how a plane flies.
Explain what a budget is.
What is music?
What is jazz?
What is a novel?
What is philosophy?
Why do people dream?
Why do we need sleep?
Why is exercise important?
Why do leaves fall in autumn?
What happens in spring?
What is the difference between a lake and a sea?
What is the difference between a frog and a toad?
Which is larger, a mouse or a horse?
Is the earth round?
Is glass a metal?
Are tomatoes fruit?
Can fish breathe air?
Hello!
Hi!
Hi there.
Hey, how is it going?
Good morning!
Good evening.
Good night.
How are you?
How are you doing today?
What can you do?
Who are you?
What are you?
Are you a robot?
Can you help me?
Can you help me with a letter?
I need some advice.
I have a question.
Let us talk about books.
Let us play a game.
I am bored.
I am hungry.
I am sad today.
I had a good day.
I have a headache.
It is raining here.
What should I do today?
What should I wear in winter?
Thank you!
Thanks a lot.
That is great.
That is wrong.
Okay.
Yes.
No.
Goodbye!
See you later.
Nice to meet you.
Please explain.
Tell me more.
Say something nice.
Sing a song.
Give me an example.
What do you think?
Do you like music?
Do you sleep?
How old are you?
Where are you from?
What is your name?
What time is it?
What day is it today?
What is the weather like?""".splitlines()
)
