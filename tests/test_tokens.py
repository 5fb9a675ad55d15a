"""Model tokens against spaCy's words: real tokenizers of three families on nasty texts."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from grammar.errors import InputError
from interpreter.facts import make_facts
from interpreter.texts import load_texts
from interpreter.tokens import SENTENCE_MARKS, read_tokens

NASTY = {
    "contractions": "I don't, they'll've gone; it's Tom's. Can't he?",
    "double spaces": "Two  spaces   and    more.  Then  on.",
    "straight quotes": 'He said "no" and "I won\'t" twice. "Oh',
    "curly quotes": "“Hello,” said ‘Tom’. «Bon» “unclosed",
    "urls": "See https://example.com/a?b=c&d=e#f or mail me@site.org now.",
    "cjk": "我喜欢猫。The 猫 sat. 日本語テキスト",
    "emoji": "Go 👩🏽‍🚀! 👍🏿 and 👨‍👩‍👧 ok 🇫🇷.",
    "accents": "Cafe\u0301 na\u0308ive e\u0301te\u0301 café naïve ﬁne ĲSSEL.",
    "empty line": "One line.\n\nAnother line.\n\n\nThird.",
    "leading white space": "   \t Once upon a time.",
    "leading newline": "\n\nOnce upon a time.",
    "trailing newline": "The end.\n",
    "tabs": "a\tb\t\tc\n\td",
    "windows lines": "One.\r\nTwo.\r\n\r\nThree.",
    "a long word": "The " + "abcdefghij" * 6 + " ended.",
    "non-breaking spaces": "10\u00a0km\u00a0\u00a0away\u00a0.",
    "zero-width space": "zero\u200bwidth \u200b and\u200b.",
    "digits": "In 1984, 3.14159 of 1,000,000 or 007 (50%) at 12:30pm.",
    "nothing but white space": " \n ",
    "one letter": "a",
    "special tokens": "A </s> and [SEP] written [CLS]out<s>.",
    "invisible": "soft\u00adhyphen and\u2028line\u2029paragraph\u0085next\u3000wide",
    "marks run together": "Wait...what?! (No—really.) [x]{y} a/b #1 @you *bold* ~~",
    "rare scripts": "नमस्ते דוגמה مثال ไทย Ωmega ß İstanbul",
    "private and astral": "\ue000 \U0001f9ff 𝒳 \U000e0067 end",
}

DOCUMENTS = load_texts("stories").documents
TRAINING = [*DOCUMENTS, *NASTY.values()]


def byte_level(beginning: bool) -> PreTrainedTokenizerFast:
    """As GPT-2 and SmolLM2 have it: spaces and every byte are letters of the vocabulary."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "</s>"]
    made.train_from_iterator(
        DOCUMENTS,
        trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, special_tokens=special),
    )
    if beginning:
        made.post_processor = processors.Sequence(
            [processors.ByteLevel(trim_offsets=False), _added("<s> $A", made)]
        )
    # GPT-2's one special token is its unknown one as well.
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="</s>"
    )


def word_piece(beginning: bool) -> PreTrainedTokenizerFast:
    """As BERT has it: lower case, no accents, ## before later pieces, [UNK] for unknown words."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=30))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[UNK]", "[CLS]", "[SEP]"]
    made.train_from_iterator(
        DOCUMENTS, trainers.WordPieceTrainer(vocab_size=600, special_tokens=special)
    )
    if beginning:
        made.post_processor = _added("[CLS] $A [SEP]", made)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    )


def sentence_piece_bpe(beginning: bool) -> PreTrainedTokenizerFast:
    """As Llama 2 has it: ▁ before the text and for spaces, bytes for unknown characters."""
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    made.train_from_iterator(DOCUMENTS, trainers.BpeTrainer(vocab_size=900, special_tokens=special))
    if beginning:
        made.post_processor = _added("<s> $A", made)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def sentence_piece_unigram(beginning: bool) -> PreTrainedTokenizerFast:
    """As T5 and XLM-R have it: the likeliest pieces, characters normalised before."""
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>"]
    made.train_from_iterator(
        TRAINING,
        trainers.UnigramTrainer(vocab_size=600, unk_token="<unk>", special_tokens=special),
    )
    if beginning:
        made.post_processor = _added("<s> $A </s>", made)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def _added(template: str, made: Tokenizer) -> Any:
    names = [name for name in template.split() if name != "$A"]
    return processors.TemplateProcessing(
        single=template, special_tokens=[(name, made.token_to_id(name)) for name in names]
    )


FAMILIES: dict[str, Callable[[bool], PreTrainedTokenizerFast]] = {
    "byte-level": byte_level,
    "WordPiece": word_piece,
    "SentencePiece BPE": sentence_piece_bpe,
    "SentencePiece Unigram": sentence_piece_unigram,
}


@pytest.fixture(scope="module", params=[(f, b) for f in FAMILIES for b in (False, True)], ids=str)
def tokenizer(request) -> PreTrainedTokenizerFast:
    family, beginning = request.param
    return FAMILIES[family](beginning)


@pytest.fixture(scope="module")
def byte_tokenizer() -> PreTrainedTokenizerFast:
    return byte_level(False)


def spans_of(text: str, tokenizer: PreTrainedTokenizerFast) -> list[tuple[int, int]]:
    return tokenizer(text, return_offsets_mapping=True)["offset_mapping"]


def word_by_brute_force(text: str, span: tuple[int, int], doc: Any) -> int:
    """The definition: the word with most of the visible characters, the first one on a tie."""
    shares = {
        word.i: sum(
            word.idx <= c < word.idx + len(word) and not text[c].isspace() for c in range(*span)
        )
        for word in doc
    }
    most = max(shares.values(), default=0)
    return next((i for i, share in shares.items() if share == most > 0), -1)


@pytest.mark.parametrize("text", NASTY.values(), ids=list(NASTY))
def test_alignment(text: str, tokenizer: PreTrainedTokenizerFast, tagger: Any) -> None:
    (tokens,) = read_tokens([text], tokenizer, tagger)
    if text != NASTY["special tokens"]:
        mask = tokenizer(text, return_special_tokens_mask=True)["special_tokens_mask"]
        assert [t.special for t in tokens] == [bool(m) for m in mask]
    spans = spans_of(text, tokenizer)
    doc = tagger(text[: max((end for _, end in spans), default=0)])
    assert len(tokens) == len(spans)

    begun: set[int] = set()
    for token, span in zip(tokens, spans, strict=True):
        if token.special:
            assert (token.text, token.word, token.lemma, token.pos, token.role) == ("",) * 5
            assert (token.word_index, token.governor, token.sentence) == (-1, -1, -1)
            assert (token.continuation, token.quoted, token.repeated) == (False,) * 3
            assert token.clause == -1
            continue
        index = word_by_brute_force(text, span, doc)
        assert token.word_index == index
        assert token.continuation == (index in begun)
        assert token.text == text[slice(*span)].strip(" \t\u00a0")
        if index < 0:
            assert (token.word, token.lemma, token.role, token.governor) == ("", "", "", -1)
            continue
        begun.add(index)
        word = doc[index]
        assert token.word == word.text
        assert token.repeated == any(
            w.text.lower() == word.text.lower() for w in doc[:index] if not w.is_space
        )
        assert (token.pos, token.role) == (word.pos_, word.dep_)
        assert token.governor == (word.head.i if word.head.i != word.i else -1)
        assert token.sentence == next(
            n for n, sentence in enumerate(doc.sents) if sentence.start <= index < sentence.end
        )

    lexical = {t.sentence for t in tokens if t.word_index >= 0}
    assert Counter(t.sentence for t in tokens if t.sentence_start) == dict.fromkeys(lexical, 1)
    for sentence in lexical:
        inside = [t for t in tokens if t.sentence == sentence and t.word_index >= 0]
        assert inside[0].sentence_start
        assert inside[-1].sentence_end == inside[-1].text.rstrip().endswith(tuple(SENTENCE_MARKS))
        assert not any(t.sentence_end for t in inside[:-1])
    if tokens:
        make_facts([tokens], causal=True)


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 7, 20])
def test_the_cut(tokenizer: PreTrainedTokenizerFast, tagger: Any, max_tokens: int) -> None:
    if max_tokens <= tokenizer.num_special_tokens_to_add():
        pytest.skip("room for special tokens alone")
    seen: list[str] = []

    class Spy:
        max_length = tagger.max_length

        def pipe(self, texts: list[str]) -> Any:
            seen.extend(texts)
            return tagger.pipe(texts)

    texts = list(NASTY.values())
    for text, tokens in zip(texts, read_tokens(texts, tokenizer, Spy(), max_tokens), strict=True):
        assert len(tokens) == min(max_tokens, len(spans_of(text, tokenizer)))
    encoded = tokenizer(texts, truncation=True, max_length=max_tokens, return_offsets_mapping=True)
    for text, read, spans in zip(texts, seen, encoded["offset_mapping"], strict=True):
        assert text.startswith(read)
        assert len(read) == max((end for _, end in spans), default=0)


def test_what_follows_the_cut_changes_nothing(byte_tokenizer: Any, tagger: Any) -> None:
    start, *_ = DOCUMENTS
    longer = f"{start} And a wholly different ending, with “quotes” and more.\n"
    kept = len(spans_of(start, byte_tokenizer)) - 1
    one, other = read_tokens([start, longer], byte_tokenizer, tagger, kept)
    assert one == other


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ('He said "no way" again.', "noway"),
        ('"Oh," he said. "Go', 'Oh,"Go'),
        ('"Oh.\n\nAnd on', "Oh.\n\nAndon"),
        ("“Yes,” she said. «Non» no", "Yes,Non"),
        ("“A “b” c” d", "Abc"),
        ("a ” b “c", "c"),
        ("don't 'quote' it's", ""),
        ("no quotes", ""),
        ('"', ""),
    ],
)
def test_quoted(text: str, quoted: str, byte_tokenizer: Any, tagger: Any) -> None:
    (tokens,) = read_tokens([text], byte_tokenizer, tagger)
    assert "".join(t.text for t in tokens if t.quoted) == quoted


def test_contractions_by_hand(tokenizer: PreTrainedTokenizerFast, tagger: Any) -> None:
    (tokens,) = read_tokens(["I don't go."], tokenizer, tagger)
    words = {t.word for t in tokens}
    assert words >= {"I", "n't", "go", "."}
    assert all(t.lemma == "not" for t in tokens if t.word == "n't")


def test_clauses_and_repeated_words_by_hand(
    tokenizer: PreTrainedTokenizerFast, tagger: Any
) -> None:
    (tokens,) = read_tokens(["The fox saw the sea, the fox\nsaw."], tokenizer, tagger)
    clauses = {word: {t.clause for t in tokens if t.word == word} for word in ("sea", "the", ".")}
    assert clauses["sea"] == {0}
    assert 0 in clauses["the"]
    assert max(clauses["the"]) <= 1
    assert min(clauses["."]) >= 1
    assert {t.repeated for t in tokens if t.word == "the"} == {True}
    assert {t.repeated for t in tokens if t.word == "The"} == {False}
    assert not any(t.repeated for t in tokens if t.word == "sea")


def test_pieces_of_an_emoji_and_a_long_word(byte_tokenizer: Any, tagger: Any) -> None:
    (tokens,) = read_tokens(["A 猫 " + "xyz" * 20], byte_tokenizer, tagger)
    pieces = [t for t in tokens if t.word == "猫"]
    assert len(pieces) > 1
    assert [t.continuation for t in pieces] == [False] + [True] * (len(pieces) - 1)
    assert {t.text for t in pieces} == {"猫"}
    long = [t for t in tokens if t.word == "xyz" * 20]
    assert len(long) > 10
    assert len({t.word_index for t in long}) == 1


def test_special_tokens_written_in_the_text(tagger: Any) -> None:
    """The model takes them for special ones, so they are; an unknown word is not."""
    (tokens,) = read_tokens(["Cat </s> cat [SEP]"], byte_level(False), tagger)
    assert [t.token_id for t in tokens if t.special] == [1]
    (tokens,) = read_tokens(["A cat [SEP] 龘龘"], word_piece(True), tagger)
    specials = [t.special for t in tokens]
    assert specials[0]
    assert specials[-1]
    assert specials.count(True) == 3
    assert [t.word for t in tokens if t.token_id == 0] == ["龘龘"] * 2


def test_line_breaks_keep_their_text(byte_tokenizer: Any, tagger: Any) -> None:
    (tokens,) = read_tokens(["One.\r\n\nTwo"], byte_tokenizer, tagger)
    breaks = [t for t in tokens if "\n" in t.text]
    assert breaks
    assert all(t.pos == "SPACE" and t.word_index == -1 and not t.special for t in breaks)


def test_a_text_that_is_too_long_for_the_tagger(tagger: Any) -> None:
    text = "a" + " " * tagger.max_length + "b"
    with pytest.raises(InputError, match="the tagger reads at most"):
        read_tokens([text], word_piece(True), tagger)


def test_a_batch_is_its_texts(tokenizer: PreTrainedTokenizerFast, tagger: Any) -> None:
    texts = [*DOCUMENTS[:2], "", *NASTY.values()]
    together = read_tokens(texts, tokenizer, tagger)
    for text, tokens in zip(texts, together, strict=True):
        (alone,) = read_tokens([text], tokenizer, tagger)
        assert [t.word_index for t in alone] == [t.word_index for t in tokens]
    nothing = together[2]
    assert all(t.special for t in nothing)
