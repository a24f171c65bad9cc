#!/usr/bin/env python3
"""scripts/prepare-tokens with a tokenizer made here: what it writes, that `sidestep data check` takes it, and
what it says of input that it cannot use.

usage: prepare_tokens_test.py SIDESTEP; run from the repository's root, by a Python that has `tokenizers`.
"""

import array
import json
import pathlib
import subprocess
import sys
import tempfile

import tokenizers

WORDS = ["the", "river", "runs", "</s>", "\r\n", "\n", " "]


def prepare(folder, *arguments):
    return subprocess.run([sys.executable, "scripts/prepare-tokens", "--tokenizer", str(folder / "tokenizer.json"),
                           "--out", str(folder / "out.bin"), *map(str, arguments)], capture_output=True, text=True)


def tokens_of(folder, *arguments):
    done = prepare(folder, *arguments)
    assert done.returncode == 0, done.stderr
    values = array.array("H", (folder / "out.bin").read_bytes())
    return [WORDS[value] for value in values]


def refusal(folder, *arguments):
    done = prepare(folder, *arguments)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr


def main():
    sidestep = sys.argv[1]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        tokenizer = tokenizers.Tokenizer(
            tokenizers.models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="the"))
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(
            tokenizers.Regex("\\r\\n|\\n| "), behavior="isolated")
        tokenizer.save(str(folder / "tokenizer.json"))

        # Line ends stay as they are, compressed or not.
        text = folder / "a.txt"
        text.write_bytes(b"the river\r\nruns\n" * 200)
        expected = ["the", " ", "river", "\r\n", "runs", "\n"] * 200
        assert tokens_of(folder, text) == expected
        subprocess.run(["zstd", "-q", str(text)], check=True)
        assert tokens_of(folder, folder / "a.txt.zst") == expected
        checked = subprocess.run([sidestep, "data", "check", str(folder / "out.bin"), "--json"],
                                 capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr
        assert str(len(expected)) in checked.stdout, checked.stdout
        notes = json.loads((folder / "out.bin.json").read_text())
        assert notes["tokens"] == len(expected) and notes["vocab_size"] == len(WORDS), notes
        assert notes["digest"] in checked.stdout, checked.stdout

        documents = folder / "b.jsonl"
        documents.write_text('{"text": "the river"}\n{"text": "runs"}\n')
        assert tokens_of(folder, documents) == ["the", " ", "river", "</s>", "runs", "</s>"]

        before = (folder / "out.bin").read_bytes()
        documents.write_text('{"text": "the"}\n{"txt": "runs"}\n')
        assert f"{documents}:2: no JSON object with" in refusal(folder, documents)
        (folder / "c.txt").write_bytes(b"the\xff")
        assert "c.txt: is not UTF-8: " in refusal(folder, folder / "c.txt")
        assert "none.txt: cannot be read: No such file" in refusal(folder, folder / "none.txt")
        cut = (folder / "a.txt.zst").read_bytes()[:-8]
        (folder / "d.txt.zst").write_bytes(cut)
        assert "d.txt.zst: zstd cannot decompress it" in refusal(folder, folder / "d.txt.zst")
        # What was there before stays.
        assert (folder / "out.bin").read_bytes() == before
        assert not list(folder.glob(".out.bin.*"))
    print("prepare-tokens: ok")


main()
