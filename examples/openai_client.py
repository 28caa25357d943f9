"""Use a personal model with the official ``openai`` client; a retry does not make a second turn.

Run it beside ``make serve``, with the address and key that it prints:

    OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=populace_... python examples/openai_client.py
"""

import httpx
from openai import OpenAI


def main() -> None:
    client = OpenAI()
    name = "ada-openai"
    own = f"{client.base_url}personal-models"
    headers = {"Authorization": f"Bearer {client.api_key}"}
    httpx.post(own, json={"name": name}, headers=headers).raise_for_status()
    try:
        question = [{"role": "user", "content": "What is the capital of France?"}]
        once = {"Idempotency-Key": "france-1"}
        first = client.chat.completions.create(
            model=name,
            messages=question,  # type: ignore[arg-type]
            temperature=0,
            max_tokens=40,
            extra_headers=once,
        )
        again = client.chat.completions.create(
            model=name,
            messages=question,  # type: ignore[arg-type]
            temperature=0,
            max_tokens=40,
            extra_headers=once,
        )
        print("reply:", first.choices[0].message.content)
        print("the same turn on a retry:", again.id == first.id)

        print("streamed: ", end="")
        stream = client.chat.completions.create(
            model=name,
            messages=[{"role": "user", "content": "Name three colours."}],
            temperature=0,
            max_tokens=40,
            stream=True,
        )
        for chunk in stream:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
        print()
    finally:
        httpx.delete(f"{own}/{name}", headers=headers).raise_for_status()


if __name__ == "__main__":
    main()
