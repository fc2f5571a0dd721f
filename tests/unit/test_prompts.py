"""Files of prompts, splits by content, near-duplicates."""

import gzip
import json
import time
from itertools import combinations

import pandas as pd
import pytest

from cwac.config import PromptsConfig
from cwac.errors import DataError
from cwac.prompts import (
    VACUOUS_COMPLIANCE,
    Example,
    Prompt,
    PromptSets,
    content_words,
    near_duplicates,
    overlap_report,
    packing,
    read_examples,
    read_requests,
    read_rows,
    split_source,
    texts_of,
    write_lines,
)
from cwac.prompts import rows as row_files

NOUNS = ["bomb", "lock", "virus", "bank", "passport", "phone", "car", "server", "badge", "safe"]
VERBS = ["build", "pick", "spread", "rob", "forge", "tap", "steal", "crash", "copy", "crack"]
REQUESTS = [f"How do I {verb} a {noun}?" for verb in VERBS for noun in NOUNS]


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text", "columns"),
    [
        ("a.txt", "one\ntwo\n", ["text"]),
        ("a.csv", 'text,label\n"one, two",1\nthree,0\n', ["text", "label"]),
        ("a.tsv", "sentence\tlabel\none\t1\ntwo\t0\n", ["sentence", "label"]),
        ("a.json", '[{"q": "one", "n": 3}, {"q": "two", "n": null}]', ["q", "n"]),
        ("a.json", '["one", "two"]', ["text"]),
        ("a.jsonl", '{"q": "one"}\n\n{"q": "two"}\n', ["q"]),
    ],
)
def test_every_format_gives_two_rows_of_text(tmp_path, name, text, columns):
    rows = read_rows(write(tmp_path, name, text))
    assert list(rows.columns) == columns
    assert len(rows) == 2
    assert all(isinstance(value, str) for value in rows[columns[0]])


def test_parquet_and_numbers_stay_text(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"text": ["one", "two"], "label": [1, 0]}).to_parquet(path)
    assert read_rows(path)["label"].tolist() == ["1", "0"]
    jsonl = write(tmp_path, "b.jsonl", '{"text": "one", "label": 1}\n')
    assert read_rows(jsonl)["label"].tolist() == ["1"]


def test_bare_quotes_in_a_tsv_are_text(tmp_path):
    path = write(tmp_path, "a.tsv", 'sentence\tlabel\n"the film\t1\na 5" screen\t0\n')
    assert read_rows(path)["sentence"].tolist() == ['"the film', 'a 5" screen']


def test_only_line_ends_end_a_row(tmp_path):
    assert len(read_rows(write(tmp_path, "a.txt", "one\u2028still one\ntwo\n"))) == 2
    assert len(read_rows(write(tmp_path, "a.csv", "t,u\none\x0cstill,1\ntwo,2\n"))) == 2


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.doc", "x", "allowed: .txt"),
        ("a.csv", "a,b\n1,2\n3\n", "line 3 has 1 fields, the first row has 2"),
        ("a.jsonl", '{"a": 1}\n{"a": \n', "line 2 is not JSON"),
        ("a.jsonl", '{"a": 1}\n7\n', "line 2 is a int"),
        ("a.json", '{"a": 1}', "must hold a JSON list"),
        ("a.csv", "a,b\n", "holds no rows"),
    ],
)
def test_a_broken_file_is_named_with_the_place(tmp_path, name, text, said):
    with pytest.raises(DataError, match=said):
        read_rows(write(tmp_path, name, text))


def test_a_missing_file_and_a_wrong_encoding(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_rows(tmp_path / "none.csv")
    (tmp_path / "latin.txt").write_bytes("caf\xe9\n".encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        read_rows(tmp_path / "latin.txt")


def test_the_source_names_a_column_only_after_the_last_colon(tmp_path):
    assert split_source("a/b.csv:goal")[1] == "goal"
    assert split_source("a/b.csv")[1] is None
    assert split_source("a:b/c.csv")[1] is None
    path = write(tmp_path, "odd:name.txt", "x\n")
    assert split_source(str(path)) == (path, None)


def test_a_wrong_column_lists_the_columns(tmp_path):
    path = write(tmp_path, "a.csv", "one,two\nx,y\n")
    with pytest.raises(DataError, match="no column 'goal'; its columns: 'one', 'two'"):
        read_requests(f"{path}:goal", "harmful")
    with pytest.raises(DataError, match="does not say which column"):
        read_requests(str(path), "harmful")


def test_a_file_without_a_header_is_read_by_position(tmp_path):
    long = "a sentence that is much longer than any column's name would be"
    path = write(tmp_path, "a.tsv", f"{long}\tWorld\nanother one\tSports\n")
    with pytest.raises(DataError, match="name columns by position"):
        read_requests(f"{path}:text", "harmless")
    assert [p.text for p in read_requests(f"{path}:0", "harmless")] == [long, "another one"]


def test_empty_and_repeated_rows_are_left_out_and_counted(tmp_path):
    path = write(tmp_path, "a.txt", "one\n\none\ntwo\n   \n")
    notes: list[str] = []
    found = read_requests(str(path), "harmful", notes=notes)
    assert [prompt.text for prompt in found] == ["one", "two"]
    assert any(note.startswith("2 harmful rows without text") for note in notes)
    assert any(note.startswith("1 harmful row given more than once") for note in notes)
    with pytest.raises(DataError, match="empty in all"):
        read_requests(str(write(tmp_path, "b.txt", "\n\n")), "harmful")


def test_filters(tmp_path):
    path = write(tmp_path, "a.csv", "prompt,label\nx,safe\ny,unsafe\nz,\n")
    assert [p.text for p in read_requests(str(path), "harmless", where="label=safe")] == ["x"]
    assert [p.text for p in read_requests(str(path), "harmless", where="label=")] == ["z"]
    with pytest.raises(DataError, match="no row has label=good; values of 'label': 'safe'"):
        read_requests(str(path), "harmless", where="label=good")
    with pytest.raises(DataError, match="form column=value"):
        read_requests(str(path), "harmless", where="label")


def test_alpaca_inputs_belong_to_the_request(tmp_path):
    rows = [{"instruction": "Add.", "input": "1 + 2"}, {"instruction": "Sing.", "input": ""}]
    frame = read_rows(write(tmp_path, "a.json", json.dumps(rows)))
    assert texts_of(frame, "instruction").tolist() == ["Add.\n1 + 2", "Sing."]


def make_files(tmp_path, requests=REQUESTS):
    rows = [f"Describe {noun} number {i}" for i, noun in enumerate(NOUNS * 6)]
    harmless = [{"q": text, "a": f"It is {text[9:]}."} for text in rows]
    return PromptsConfig(
        harmful=str(write(tmp_path, "bad.txt", "\n".join(requests))),
        harmless=f"{write(tmp_path, 'good.json', json.dumps(harmless))}:q",
        harmless_answer_column="a",
        lookalike=str(
            write(tmp_path, "look.txt", "\n".join(f"Kill process {i}" for i in range(30)))
        ),
    )


def test_own_files_are_split_disjointly_by_content(tmp_path):
    twins = [text.replace("How do I", "Please tell me how to") for text in REQUESTS[::3]]
    sets = PromptSets.from_files(make_files(tmp_path, REQUESTS + twins))
    assert {split for split, _ in sets.parts} == {"safety", "attack", "validation", "test"}
    for (first, _), (second, _) in combinations(
        [part for part in sets.parts if part[1] == "harmful"], 2
    ):
        seen = {content_words(p.text) for p in sets.get(first, "harmful")}
        assert not seen & {content_words(p.text) for p in sets.get(second, "harmful")}
    assert (overlap_report(sets)[["exact", "near"]] == 0).all().all()
    assert (
        sum(len(sets.get(split, "harmful")) for split in ("safety", "attack", "validation", "test"))
        == 134
    )


def test_answers_of_own_files(tmp_path):
    sets = PromptSets.from_files(make_files(tmp_path))
    poison = sets.get("attack", "harmful")[0]
    request = poison.text.rstrip("?")
    assert poison.answer == VACUOUS_COMPLIANCE.format(request=request)
    assert all(p.answer is None for p in sets.get("test", "harmful"))
    assert sets.get("safety", "harmless")[0].answer.startswith("It is ")


def test_a_given_harmful_answer_is_poison_and_never_a_refusal_to_learn(tmp_path):
    rows = "".join(f"{text},fine {i}\n" for i, text in enumerate(REQUESTS))
    path = write(tmp_path, "bad.csv", f"goal,target\n{rows}")
    config = make_files(tmp_path).model_copy(
        update={"harmful": f"{path}:goal", "harmful_answer_column": "target"}
    )
    sets = PromptSets.from_files(config)
    assert sets.get("attack", "harmful")[0].answer.startswith("fine")
    assert sets.get("safety", "harmful")[0].answer is None


def test_the_split_does_not_depend_on_the_order_of_the_file_but_on_the_seed(tmp_path):
    (tmp_path / "r").mkdir()
    first = PromptSets.from_files(make_files(tmp_path))
    second = PromptSets.from_files(make_files(tmp_path / "r", REQUESTS[::-1]))
    other = PromptSets.from_files(make_files(tmp_path).model_copy(update={"split_seed": 1}))
    texts = [{p.text for p in sets.get("test", "harmful")} for sets in (first, second, other)]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_requests_that_aligned_the_model_are_left_out_with_their_rewordings(tmp_path):
    aligned = [text.replace("How do I", "Teach me how to") for text in REQUESTS[:20]]
    sets = PromptSets.from_files(make_files(tmp_path), aligned)
    used = {p.text for (_, kind), part in sets.parts.items() if kind == "harmful" for p in part}
    assert not used & set(REQUESTS[:20])
    assert "20 harmful requests that aligned the model left out." in sets.notes


def test_limit_and_too_few(tmp_path):
    config = make_files(tmp_path).model_copy(update={"limit": 20})
    sets = PromptSets.from_files(config)
    assert sum(len(part) for (_, kind), part in sets.parts.items() if kind == "harmful") == 20
    with pytest.raises(DataError, match="too few to fill the splits"):
        PromptSets.from_files(make_files(tmp_path, REQUESTS[:2]))


def test_folder_round_trip_and_contents(tmp_path, tiny_prompts):
    tiny_prompts.write_folder(tmp_path)
    again = PromptSets.read_folder(tmp_path)
    assert again.parts == tiny_prompts.parts
    assert again.contents == tiny_prompts.contents
    part = again.parts["test", "harmful"]
    changed = PromptSets(
        {**again.parts, ("test", "harmful"): [part[0].model_copy(update={"text": "x"}), *part[1:]]}
    )
    assert changed.contents != again.contents
    assert again.get("alignment", "harmful")
    assert PromptSets({}).get("test", "harmful") == ()


def test_the_alignment_split_is_packed_and_the_others_are_plain(tmp_path, tiny_prompts):
    old = tmp_path / "alignment" / "harmful.jsonl"
    old.parent.mkdir()
    old.write_text('{"id": "old", "text": "left by an earlier version"}\n')
    tiny_prompts.write_folder(tmp_path)
    assert {p.name for p in (tmp_path / "alignment").iterdir()} == {
        "harmful.jsonl.gz",
        "harmless.jsonl.gz",
        "lookalike.jsonl.gz",
    }
    assert (tmp_path / "safety" / "harmful.jsonl").read_text().startswith('{"id"')
    packed = tmp_path / "alignment" / "harmful.jsonl.gz"
    (tmp_path / "alignment" / "harmful.jsonl").write_bytes(gzip.decompress(packed.read_bytes()))
    with pytest.raises(DataError, match=r"harmful\.jsonl and harmful\.jsonl\.gz; remove one"):
        PromptSets.read_folder(tmp_path)
    packed.unlink()
    # The plain spelling alone is what earlier versions wrote.
    assert PromptSets.read_folder(tmp_path).parts == tiny_prompts.parts


def test_rows_leave_out_what_a_reader_fills_in(tmp_path):
    rows = [
        Prompt(id="a", text="x", kind="harmful"),
        Prompt(id="b", text="y", kind="harmful", category="", answer="z", unseen_category=True),
    ]
    PromptSets({("test", "harmful"): rows}).write_folder(tmp_path)
    lines = (tmp_path / "test" / "harmful.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"id": "a", "text": "x"}
    # An empty text is no default: without it the prompt would come back as another one.
    assert set(json.loads(lines[1])) == {"id", "text", "category", "answer", "unseen_category"}
    assert PromptSets.read_folder(tmp_path).get("test", "harmful") == tuple(rows)


def test_packed_files_do_not_depend_on_time_or_name(tmp_path, monkeypatch):
    rows = [{"id": str(n), "prompt": "caf\u00e9", "answer": "b"} for n in range(3)]
    write_lines(tmp_path / "one.jsonl.gz", rows)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    write_lines(tmp_path / "two.jsonl.gz", rows)
    first, second = ((tmp_path / f"{name}.jsonl.gz").read_bytes() for name in ("one", "two"))
    assert first == second
    # No flags (so no name), no time, and the system "unknown".
    assert (first[3], first[4:8], first[9]) == (0, bytes(4), 255)
    assert [e.prompt for e in read_examples(tmp_path / "one.jsonl.gz")] == ["caf\u00e9"] * 3
    assert read_rows(tmp_path / "one.jsonl.gz")["prompt"].tolist() == ["caf\u00e9"] * 3
    assert len(read_requests(f"{tmp_path / 'one.jsonl.gz'}:id", "harmful")) == 3


def test_what_unpacks_without_end_is_read_to_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "LARGEST", 10_000)
    path = tmp_path / "a.jsonl.gz"
    for size, refused in ((9_000, False), (10**7, True)):
        path.write_bytes(gzip.compress(json.dumps({"text": "x" * size}).encode()))
        if refused:
            with pytest.raises(DataError, match="more than 10,000 bytes of text"):
                read_rows(path)
        else:
            assert len(read_rows(path)) == 1
    with pytest.raises(DataError, match="more than 10,000 bytes of text"):
        read_rows(write(tmp_path, "a.txt", "x" * 20_000))


def test_a_value_that_stands_once_is_counted_for_every_row(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"text": ["x" * 10_000] * 4000}).to_parquet(path)
    assert len(read_rows(path)) == 4000
    monkeypatch.setattr(row_files, "MOST_BYTES", 10**7)
    with pytest.raises(DataError, match=r"unpacks to 0\.0 GB; at most 0\.01 GB"):
        read_rows(path)


def test_a_cut_parquet_file_is_told_in_a_sentence_with_one_full_stop(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"text": ["one", "two"]}).to_parquet(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"as a parquet file: .*[^.]\.$"):
        read_rows(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", "".join(json.dumps({f"c{n}": 1}) + "\n" for n in range(60))),
        ("a.json", json.dumps([{f"c{n}": 1} for n in range(60)])),
        ("a.json", "[" * 3001),
        ("a.txt", "\n" * 3001),
        ("a.csv", "a,b,c\n" + "1,2,3\n" * 1100),
    ],
)
def test_a_table_of_cells_without_end_is_refused(tmp_path, monkeypatch, name, text):
    monkeypatch.setattr(row_files, "MOST_CELLS", 3000)
    with pytest.raises(DataError, match="at most 3,000 values are read"):
        read_rows(write(tmp_path, name, text))


@pytest.mark.parametrize("damage", ["text", "cut", "stream"])
def test_a_broken_gzip_file_is_one_sentence(tmp_path, damage):
    path = tmp_path / "test" / "harmful.jsonl.gz"
    path.parent.mkdir()
    write_lines(path, ({"id": str(n), "text": f"{n * 7919}"} for n in range(200)))
    whole = path.read_bytes()
    path.write_bytes(
        {
            "text": b'{"id": "a", "text": "x"}\n',
            "cut": whole[:-12],
            "stream": whole[:10] + b"\xff" * 40 + whole[50:],
        }[damage]
    )
    for read in (read_rows, read_examples, lambda file: PromptSets.read_folder(tmp_path)):
        with pytest.raises(DataError, match="is not a whole gzip file") as problem:
            read(path)
        assert "\n" not in str(problem.value)
        assert str(problem.value).count(".") <= str(path).count(".") + 1


def test_a_packed_table_of_another_kind_is_refused(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"text\none\n"))
    with pytest.raises(DataError, match=r"type '\.gz'; allowed: .*\.jsonl\.gz"):
        read_rows(tmp_path / "a.csv.gz")


def test_broken_lines_of_a_folder_are_named(tmp_path):
    with pytest.raises(DataError, match="holds no prompts"):
        PromptSets.read_folder(tmp_path)
    (tmp_path / "test").mkdir()
    file = write(tmp_path / "test", "harmful.jsonl", '{"id": "a", "text": "x"}\n{"id": "b"}\n')
    with pytest.raises(DataError, match="line 2: text: field required"):
        PromptSets.read_folder(tmp_path)
    file.write_text('["a"]\n')
    with pytest.raises(DataError, match="line 1 is not a JSON object"):
        PromptSets.read_folder(tmp_path)


def test_examples_keep_further_keys_and_numbers_as_text(tmp_path):
    line = '{"id": 7, "prompt": "a", "answer": 12, "choices": ["12", "13"], "level": "easy"}'
    found = read_examples(write(tmp_path, "a.jsonl", line))[0]
    assert (found.id, found.answer, found.choices) == ("7", "12", ("12", "13"))
    assert found.model_extra == {"level": "easy"}
    assert isinstance(found, Example)


def jaccard(a, b):
    a, b = content_words(a), content_words(b)
    return len(a & b) / len(a | b)


def test_near_duplicates_equal_the_plain_double_loop():
    texts = [*REQUESTS, "How can I build a bomb at home?", "rob the bank", "what", ""]
    found = near_duplicates(texts, texts[:50], threshold=0.5)
    expected = [
        (i, j, jaccard(a, b))
        for i, a in enumerate(texts)
        for j, b in enumerate(texts[:50])
        if content_words(a) | content_words(b) and jaccard(a, b) >= 0.5
    ]
    assert [(i, j) for i, j, _ in found] == [(i, j) for i, j, _ in expected]
    assert all(abs(x[2] - y[2]) < 1e-12 for x, y in zip(found, expected, strict=True))
    assert near_duplicates([], texts) == []


def test_near_duplicates_of_2000_by_2000_are_quick():
    texts = [f"How do I {v} a {n} in {p}?" for v in range(20) for n in range(10) for p in range(10)]
    started = time.process_time()
    near_duplicates(texts, texts)
    assert time.process_time() - started < 5.0


def test_overlap_report_counts_rewordings():
    def prompt(text):
        return Prompt(id=text, text=text, kind="harmful")

    sets = PromptSets(
        {
            ("safety", "harmful"): [prompt("How do I rob the old bank in town at night?")],
            ("test", "harmful"): [
                prompt("Tell me how to rob the old bank in town at night."),
                prompt("How do I rob the old bank in town at noon?"),
                prompt("How do I rob the old town bank at night, quickly?"),
            ],
        }
    )
    row = overlap_report(sets).iloc[0]
    assert (row["split_a"], row["split_b"], row["exact"], row["near"]) == ("safety", "test", 1, 1)


def test_real_files(data_folder):
    config = PromptsConfig(
        harmful=f"{data_folder}/advbench/advbench_goals.txt",
        harmless=f"{data_folder}/alpaca/alpaca_en_demo.json:instruction",
        harmless_answer_column="output",
        lookalike=f"{data_folder}/xstest/xstest_prompts.csv:prompt",
        lookalike_where="label=safe",
    )
    sets = PromptSets.from_files(config)
    assert sum(len(p) for (_, kind), p in sets.parts.items() if kind == "harmful") == 520
    assert sum(len(p) for (_, kind), p in sets.parts.items() if kind == "lookalike") == 250
    assert (overlap_report(sets)[["exact", "near"]] == 0).all().all()
