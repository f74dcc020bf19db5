"""The task of the stages after pretraining: from a function's signature to the first paragraph of its docstring."""

import ast
import re
import warnings
from dataclasses import dataclass
from itertools import pairwise

END, PAD, USER, ASSISTANT = range(4)  # ids of the special tokens, see train.SPECIAL
MOST_PROMPT, MOST_ANSWER = 64, 48  # tokens
FEWEST_WORDS, MOST_WORDS = 3, 30


@dataclass(frozen=True)
class Pair:
    """A function's signature, its parameters by name (without self and cls), and its docstring's first paragraph."""

    signature: str
    parameters: tuple
    docstring: str


def pairs(texts):
    """The `Pair`s of all documented functions in the source files `texts` (name -> text), each once, in their order."""
    found = {}
    for text in texts.values():
        for function in ast.walk(_parsed(text)):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                paragraph = re.sub(r"\s+", " ", (ast.get_docstring(function) or "").split("\n\n")[0]).strip()
                if paragraph.isascii() and len(paragraph.split()) >= FEWEST_WORDS:
                    found[_pair(function, paragraph)] = None
    return list(found)


def _parsed(text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in old source
        try:
            return ast.parse(text)
        except SyntaxError:  # lib2to3 keeps files of Python 2
            return ast.Module(body=[], type_ignores=[])


def _pair(function, paragraph):
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    parameters = tuple(a.arg for a in named if a.arg not in ("self", "cls"))
    return Pair(f"def {function.name}({ast.unparse(arguments)}):", parameters, paragraph)


def encode(bpe, pair):
    """(prompt, answer) as lists of token ids; the prompt ends where the assistant begins, the answer with END."""
    prompt, answer = (bpe.encode(text).ids for text in (pair.signature, pair.docstring))
    return [USER, *prompt, ASSISTANT], [*answer, END]


def fitting(bpe, found):
    """Those of the `Pair`s whose prompt and answer are short enough."""
    lengths = [(pair, *map(len, encode(bpe, pair))) for pair in found]
    return [pair for pair, prompt, answer in lengths if prompt <= MOST_PROMPT and answer <= MOST_ANSWER]


def checks(pair, text, closed):
    """What a program can check of the answer `text` to a signature.

    Returns
    -------
    dict
        ``closed``: it came to an end by itself. ``sentence``: from a capital to one full stop at its very end, 3 to 30
        words, no word twice in a row, every bracket and quotation mark closed. ``named``: share of the function's
        parameters that it mentions, 1 if there is none. ``reward``: 0 unless closed and a sentence, else
        (1 + named) / 2.
    """
    words = re.findall(r"[\w']+", text)
    sentence = (
        re.fullmatch(r"[A-Z][^.]*(\.\w[^.]*)*\.", text) is not None  # a.b is no end of a sentence
        and FEWEST_WORDS <= len(words) <= MOST_WORDS
        and all(a.lower() != b.lower() for a, b in pairwise(words))
        and all(text.count(a) == text.count(b) for a, b in ("()", "[]", "{}"))
        and text.count('"') % 2 == text.count("`") % 2 == 0
    )
    mentioned = [re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None for name in pair.parameters]
    named = sum(mentioned) / len(mentioned) if mentioned else 1.0
    reward = (1 + named) / 2 if closed and sentence else 0.0
    return {"closed": bool(closed), "sentence": bool(sentence), "named": named, "reward": reward}
