"""Create a personal model, talk to it, and read what it remembers of the conversation.

Run it beside ``make serve``.
"""

import populace


def main() -> None:
    with populace.connect() as population:
        ada = population.create("ada-quickstart")
        try:
            print("ada:", ada.chat("What is the capital of France?", temperature=0))
            print("ada:", ada.chat("And what language do they speak there?", temperature=0))

            for turn in ada.log():
                asked = turn.messages[-1].content
                print(f"log {turn.position}: {asked!r} → {turn.reply!r} (by {turn.revision})")
        finally:
            ada.erase()


if __name__ == "__main__":
    main()
