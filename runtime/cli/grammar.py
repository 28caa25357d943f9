"""The grammar of ``populace``: its nouns, the verbs of each, and where each verb is. Nothing is loaded here.

A verb without a noun is about this Populace as a whole. What a verb takes, does and prints is in its module;
what lists it says in a few words is here, so that a list loads none of them.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

Sections = Mapping[str, Mapping[str, "Verb | Noun"]]


class Verb(NamedTuple):
    """A command: the module in ``populace.cli`` and the function that do it, and what for."""

    place: str
    summary: str


class Noun(NamedTuple):
    """What verbs are about."""

    summary: str
    sections: Sections
    examples: tuple[str, ...]

    @property
    def verbs(self) -> dict[str, "Verb | Noun"]:
        return {name: verb for section in self.sections.values() for name, verb in section.items()}


MODEL = Noun(
    "Personal models: one person's each",
    {
        "Models": {
            "ls": Verb("models:ls", "List the models"),
            "create": Verb("models:create", "Create a model"),
            "show": Verb("models:show", "Show a model and its newest turns"),
            "fork": Verb("models:fork", "Copy a model under another name"),
            "export": Verb("archives:export", "Write a model to a file"),
            "import": Verb("archives:import_", "Create a model from such a file"),
            "rm": Verb("models:rm", "Erase a model for good, also from backups"),
        },
        "What it hears and knows": {
            "chat": Verb("chat:run", "Talk to a model; the same as `populace run`"),
            "known": Verb("known:known", "Show what a model knows about its person"),
            "forget": Verb("forget:forget", "Forget turns for good"),
            "feedback": Verb("feedback:feedback", "Say what a reply was like, or list what was said"),
        },
        "What it learns": {
            "train": Verb("training:train", "Train models on their logs and feedback"),
            "jobs": Verb("training:jobs", "List trainings"),
            "cancel": Verb("training:cancel", "Cancel a training"),
            "evaluate": Verb("evaluate:evaluate", "Ask a model its person's own questions"),
            "revisions": Verb("revisions:revisions", "List a model's revisions"),
            "history": Verb("lineage:history", "Draw how its revisions came about"),
            "diff": Verb("lineage:diff", "Compare two revisions"),
            "publish": Verb("revisions:publish", "Give a model an adapter that was made elsewhere"),
            "rollback": Verb("lineage:rollback", "Go back to the revision before"),
            "rebuild": Verb("lineage:rebuild", "Train its revision again, from the base"),
        },
        "What others may have of it": {
            "share": Verb("consents:share", "Have it take part in answers of the population"),
            "unshare": Verb("consents:unshare", "Have it take part no longer"),
            "contribute": Verb("consents:contribute", "Let the community learn from its liked replies"),
            "withdraw": Verb("consents:withdraw", "Let the community learn from it no longer"),
        },
    },
    ("populace model create ada", "populace model known ada", "populace model train ada"),
)

POPULACE = Noun(
    "Personal models over one shared base model: serve them, talk to them, look after them.",
    {
        "Talk": {
            "run": Verb("chat:run", "Talk to a model, or send one message"),
            "model": MODEL,
            "population": Noun(
                "Many models that answer together",
                {
                    "Commands": {
                        "ask": Verb("population:ask", "Ask members, and combine their answers"),
                        "ls": Verb("population:ls", "List the members"),
                        "report": Verb("population:report", "Report how alike members answer"),
                        "merge": Verb("population:merge", "Merge members' adapters into one model"),
                    }
                },
                ('populace population ask "Which one is in Italy?" --choice Rome --choice Oslo',),
            ),
        },
        "Serve": {
            "serve": Verb("serve:serve", "Serve personal models until Ctrl-C"),
            "status": Verb("status:status", "Show what is served, and where"),
            "ps": Verb("status:ps", "List the models that are active, and trainings"),
            "doctor": Verb("doctor:doctor", "Check this machine"),
            "config": Verb("config:config", "Show all settings"),
            "logs": Verb("logs:logs", "Show what all processes logged"),
            "trace": Verb("trace:trace", "Show where the time of a request went"),
            "node": Noun(
                "The machines of a cluster",
                {
                    "Commands": {
                        "ls": Verb("nodes:ls", "List the machines, and what runs on each"),
                        "join": Verb("join:join", "Lend this machine to a cluster"),
                        "drain": Verb("drain:drain", "Hand the hosts of a machine over"),
                    }
                },
                ("populace node ls", "populace node join 10.0.0.1:6379"),
            ),
        },
        "Look after": {
            "backup": Verb("backup:backup", "Back up the store, also while it is served"),
            "restore": Verb("restore:restore", "Restore a backup, or a journal"),
            "reshard": Verb("reshard:reshard", "Give the store another number of shards"),
            "key": Noun(
                "API keys",
                {
                    "Commands": {
                        "ls": Verb("keys:ls", "List the keys"),
                        "create": Verb("keys:create", "Create a key, and show it once"),
                        "show": Verb("keys:show", "Show a key, without its secret"),
                        "rotate": Verb("keys:rotate", "Give a key a new secret"),
                        "limit": Verb("keys:limit", "Limit what a key takes in a minute"),
                        "revoke": Verb("keys:revoke", "Revoke a key"),
                    }
                },
                ('populace key create acme --label "acme\'s backend" --expires-in 1y', "populace key ls"),
            ),
            "tenant": Noun(
                "Tenants, and what each may take",
                {
                    "Commands": {
                        "ls": Verb("tenants:ls", "List the tenants"),
                        "show": Verb("tenants:show", "Show what a tenant has and may take"),
                        "limit": Verb("tenants:limit", "Limit what a tenant takes"),
                    }
                },
                ("populace tenant limit acme --people 1000 --bytes 20GiB",),
            ),
        },
        "Look into": {
            "memory": Noun(
                "The memory state of a model",
                {
                    "Commands": {
                        "show": Verb("memory:show", "Show the state, and the newest writes"),
                        "restore": Verb("memory:restore", "Set it back to what it was at a turn"),
                        "clear": Verb("memory:clear", "Empty it; the log stays"),
                    }
                },
                ("populace memory show ada --picture ada.svg",),
            ),
            "suite": Noun(
                "The questions that a person's model is asked by `populace model evaluate`",
                {
                    "Commands": {
                        "show": Verb("evaluate:show", "Print the stored questions"),
                        "rm": Verb("evaluate:rm", "Remove the stored questions"),
                    }
                },
                ("populace suite show ada > suite.jsonl",),
            ),
            "adapter": Noun(
                "PEFT adapters, packed and unpacked",
                {
                    "Commands": {
                        "import": Verb("adapter:import_", "Pack a PEFT LoRA directory into one file"),
                        "export": Verb("adapter:export", "Write a packed adapter as a PEFT directory"),
                        "show": Verb("adapter:show", "Check a packed adapter, and show what is in it"),
                    }
                },
                ("populace adapter import my-lora/ ada.adapter",),
            ),
        },
    },
    ('populace run ada "What is photosynthesis?"', "populace model ls", "populace model train --help"),
)

SYNONYMS = {
    "list": "ls",
    "dir": "ls",
    "remove": "rm",
    "delete": "rm",
    "erase": "rm",
    "del": "rm",
    "inspect": "show",
    "info": "show",
    "get": "show",
    "describe": "show",
    "new": "create",
    "add": "create",
    "copy": "fork",
    "cp": "fork",
    "ask": "run",
    "talk": "run",
    "start": "serve",
    "up": "serve",
    "top": "ps",
    "stop": "cancel",
    "empty": "clear",
    "facts": "known",
    "learn": "train",
    "fine-tune": "train",
    "undo": "rollback",
}
"""What people type for a verb, and what it is called here."""

RENAMED = {
    "chat": "run",
    "train": "model train",
    "jobs": "model jobs",
    "evaluate": "model evaluate",
    "eval": "model evaluate",
    "pull": "model create",
    "members": "population ls",
    "nodes": "node ls",
    "join": "node join",
    "drain": "node drain",
    "model memory": "model known",
    "model run": "model chat",
    "population members": "population ls",
    "key rm": "key revoke",
    "run --message": 'run NAME "MESSAGE"',
    "run -m": 'run NAME "MESSAGE"',
    "model chat -m": 'model chat NAME "MESSAGE"',
    "model jobs --cancel": "model cancel NAME",
    "model share --stop": "model unshare NAME",
    "model contribute --withdraw": "model withdraw NAME",
    "model contribute --show": "model show NAME",
    "model evaluate --show": "suite show NAME",
    "model evaluate --remove": "suite rm NAME",
    "model known --ask": 'model known NAME "QUESTION"',
    "model known --state": "memory show NAME",
}
"""What was called otherwise, by the words after ``populace``, and what it is called now."""


def paths(noun: Noun = POPULACE, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every verb that is listed, in the order of the lists."""
    for name, entry in noun.verbs.items():
        if isinstance(entry, Verb):
            yield (*before, name)
        else:
            yield from paths(entry, (*before, name))
