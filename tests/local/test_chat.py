"""The conversation: one answer for one history."""

import pytest

from tests.local.asking import request, text


def say(*said: str, **fields: object) -> str:
    """The last answer of a conversation in which the user says these things."""
    messages: list[dict[str, str]] = []
    for words in said[:-1]:
        messages += ({"role": "user", "content": words}, {"role": "assistant", "content": "…"})
    return text(request("chat", **{**fields, "messages": [*messages, {"role": "user", "content": said[-1]}]}))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Hello!", "Hello! How can I help you today?"),
        ("what is 12*7", "12 * 7 is 84."),
        ("2+2", "2 + 2 is 4."),
        ("What is ten to the power of three?", "10 ** 3 is 1000."),
        ("5/0", "5 / 0 has no answer, because nothing can be divided by zero."),
        ('How many words are in "the quick brown fox"?', 'There are 4 words in "the quick brown fox".'),
        ("count the words in: one two", 'There are 2 words in "one two".'),
        ("how many r's are in strawberry?", 'The letter "r" appears 3 times in "strawberry".'),
        ("How many letters in a cat?", 'There are 4 letters in "a cat".'),
        ("spell 'necessary'", "Necessary is spelled N-E-C-E-S-S-A-R-Y."),
        ("Say hello world!", "hello world!"),
        ("Please repeat after me: I love trio.", "I love trio."),
        ("reverse stressed", "desserts"),
        ("count to 5", "1, 2, 3, 4, 5."),
        ("What's your name?", "I am Sandbox, a small rule-based model that lives inside Vango."),
        ("What is my name?", "You have not told me your name yet. What is it?"),
        ("How are you?", "I am well, thank you. And you?"),
        ("thanks", "You are welcome!"),
        ("yes", "Good. What shall we do next?"),
        (
            "Why is the sky blue?",
            "That is a good question about the sky. I have no facts to look it up in. What do you think?",
        ),
        ("call 555-1234", "Tell me more about that. What matters most to you there?"),
    ],
)
def test_a_rule_answers(said: str, expected: str):
    assert say(said) == expected


@pytest.mark.parametrize("told", ["My name is Ada.", "my name's ada", "I'm Ada", "Hi, call me Ada"])
def test_a_name_is_remembered(told: str):
    assert say(told, "How are you?", "What is my name?") == "Your name is Ada."
    assert "Ada" in say(told, "bye")


def test_the_latest_name_counts():
    assert say("I'm Ada", "My name is Bob", "who am I?") == "Your name is Bob."


def test_it_greets_another_time_differently():
    assert say("Hello") != say("Hello", "Hello")


def test_it_recalls_what_was_said():
    assert say("I like tea", "what did I just say?") == 'Before this you said: "I like tea"'


def test_the_system_prompt_may_name_it():
    assert say("Who are you?", system="Your name is Otto.").startswith("I am Otto,")
    assert say("Who are you?", system=[{"type": "text", "text": "You are Otto, a pirate."}]).startswith("I am Otto,")


def test_anything_gets_an_answer():
    for words in ("…", "你好", "?", "a" * 5000, "spell", "reverse", "count to 5000", "say", "🙂" * 50):
        assert say(words)


def test_images_and_documents_are_acknowledged():
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    document = {
        "type": "document",
        "title": "Plan",
        "source": {"type": "text", "media_type": "text/plain", "data": "x"},
    }

    assert (
        text(request("chat", [image, document]))
        == 'Thank you, I received an image and the document "Plan", though I cannot look inside.'
    )
    assert text(request("chat", [image, {"type": "text", "text": "what is 2+2?"}])).endswith("2 + 2 is 4.")
    assert text(request("echo", [{"type": "text", "text": "see"}, image])) == "see\n[image]"
