"""text_classifier on the model of torchtext's tutorials."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch

from flambeau.errors import InvalidModel
from flambeau.runtime.handlers.text import TextHandler
from tests.unit.handlers.nets import bag_of_words

WORDS = ["shares", "of", "the", "company", "fell", "team", "won", "game", "market", "rose"]
TOKENS = ["<unk>", *WORDS, "the team", "team won", "shares of"]
CLASSES = ["sports", "business"]

SOURCE = Path(bag_of_words.__file__).read_text()


def source(mode="mean"):
    return SOURCE.replace('"mean"', f'"{mode}"')


def made(mode="mean"):
    torch.manual_seed(3)
    return bag_of_words.Net(mode).eval()


@pytest.fixture(scope="session")
def vocabulary():
    buffer = io.BytesIO()
    torch.save({token: number for number, token in enumerate(TOKENS)}, buffer)
    return buffer.getvalue()


@pytest.fixture
def classifier(serve, vocabulary, state_dict):
    def make(mode="mean", **options):
        files = {
            "net.py": source(mode),
            "net.pth": state_dict(made(mode)),
            "source_vocab.pt": vocabulary,
            "index_to_name.json": json.dumps({"object_type_names": CLASSES}),
        }
        return serve("text_classifier", files, modelFile="net.py", serializedFile="net.pth", **options)

    return make


def probabilities(tokens, mode="mean"):
    numbers = torch.tensor([TOKENS.index(token) if token in TOKENS else 0 for token in tokens])
    with torch.inference_mode():
        return made(mode)(numbers, torch.tensor([0])).softmax(1)[0].tolist()


THE_TEAM_WON = ["the", "team", "won", "the team", "team won"]


def test_every_class_gets_a_probability(classifier, answers, request_of):
    (answer,) = answers(classifier(), request_of("The <b>team</b> wón!"))
    assert answer == pytest.approx(dict(zip(CLASSES, probabilities(THE_TEAM_WON), strict=True)))


def test_texts_of_one_batch_do_not_touch_each_other(classifier, answers, request_of):
    handler = classifier()
    together = answers(
        handler, request_of("the team won"), request_of(data=b"shares of the company fell"), request_of(b"")
    )
    alone = [
        *answers(handler, request_of("the team won")),
        *answers(handler, request_of(b"shares of the company fell")),
        *answers(handler, request_of(b"")),
    ]
    assert together == alone
    assert together[0] != together[1]


def test_unknown_words_count_as_unk(classifier, answers, request_of):
    (answer,) = answers(classifier(), request_of("zebras"))
    assert list(answer.values()) == pytest.approx(probabilities(["zebras"]))


def test_torchscript_is_served_too(serve, vocabulary, scripted, answers, request_of, refusal):
    handler = serve(
        "text_classifier", {"net.pt": scripted(made()), "source_vocab.pt": vocabulary}, serializedFile="net.pt"
    )
    (answer,) = answers(handler, request_of("the team won"))
    assert list(answer.values()) == pytest.approx(probabilities(THE_TEAM_WON))
    status, sentence = refusal(handler, request_of("the team won", explain=True))
    assert (status, sentence) == (501, "TorchScript models of text have no explanations")


@pytest.mark.parametrize(("body", "problem"), [(b"\xff\xfe", "not a text in UTF-8"), ({"text": "x"}, "not a text")])
def test_what_is_no_text_is_a_bad_request(classifier, refusal, request_of, body, problem):
    status, sentence = refusal(classifier(), request_of(body))
    assert status == 400
    assert problem in sentence


def test_a_missing_vocabulary_is_named(serve, state_dict):
    with pytest.raises(InvalidModel, match=r"Missing the source_vocab file: source_vocab\.pt"):
        serve(
            "text_classifier",
            {"net.py": source(), "net.pth": state_dict(made())},
            modelFile="net.py",
            serializedFile="net.pth",
        )


def test_the_manifest_may_name_the_vocabulary(serve, vocabulary, state_dict, answers, request_of):
    files = {"net.py": source(), "net.pth": state_dict(made()), "words.pt": vocabulary}
    handler = serve("text_classifier", files, modelFile="net.py", serializedFile="net.pth", sourceVocab="words.pt")
    assert answers(handler, request_of("the team won"))


# --- explanations -----------------------------------------------------------------------------------------------------


def integrated_gradients(words, tokens, target, mode):
    """By hand: attributions of each token's embedding, by a fine Riemann sum; a token's is shared by its words."""
    net = made(mode)
    numbers = torch.tensor([TOKENS.index(token) if token in TOKENS else 0 for token in tokens])
    ends, starts = net.embedding.weight[numbers].detach(), net.embedding.weight[torch.zeros_like(numbers)].detach()
    total = torch.zeros_like(ends)
    steps = 200
    for step in range(steps):
        point = (starts + (ends - starts) * (step + 0.5) / steps).requires_grad_()
        bag = {"mean": point.mean(0), "sum": point.sum(0), "max": point.max(0).values}[mode]
        (gradient,) = torch.autograd.grad(net.fc(bag)[target], point)
        total += gradient / steps
    by_token = ((ends - starts) * total).sum(1).tolist()
    by_word = dict.fromkeys(words, 0.0)
    for token, importance in zip(tokens, by_token, strict=True):
        for word in token.split():
            by_word[word] += importance / len(token.split())
    length = sum(value**2 for value in by_word.values()) ** 0.5
    return [value / length for value in by_word.values()]


@pytest.mark.parametrize("mode", ["mean", "sum", "max"])
@pytest.mark.parametrize("target", [0, 1])
def test_an_explanation_says_how_much_each_word_speaks_for_the_class(classifier, answers, request_of, mode, target):
    pytest.importorskip("captum", reason="explanations need captum: pip install captum")
    (answer,) = answers(classifier(mode), request_of(data="The team won", target=str(target), explain=True))
    assert answer["words"] == ["the", "team", "won"]
    expected = integrated_gradients(["the", "team", "won"], THE_TEAM_WON, target, mode)
    assert answer["importances"] == pytest.approx(expected, abs=0.02)


def test_each_text_of_a_batch_is_explained_for_its_own_class(classifier, answers, request_of):
    pytest.importorskip("captum", reason="explanations need captum: pip install captum")
    handler = classifier()
    first, second = answers(
        handler,
        request_of(data="the team won", target=0, explain=True),
        request_of(data="the team won", target=1, explain=True),
    )
    assert first["words"] == second["words"]
    assert first["importances"] != pytest.approx(second["importances"])


@pytest.mark.parametrize(("text", "words"), [("", []), ("zebras", ["zebras"])])
def test_words_that_make_no_difference_have_no_importance(classifier, answers, request_of, text, words):
    pytest.importorskip("captum", reason="explanations need captum: pip install captum")
    (answer,) = answers(classifier(), request_of(data=text, explain=True))
    assert answer == {"words": words, "importances": [0.0] * len(words)}


@pytest.mark.parametrize(
    ("target", "problem"), [("7", "target 7 is not a class"), ("cat", "not the number of a class")]
)
def test_a_target_that_is_no_class_is_a_bad_request(classifier, refusal, request_of, target, problem):
    pytest.importorskip("captum", reason="explanations need captum: pip install captum")
    status, sentence = refusal(classifier(), request_of(data="the team won", target=target, explain=True))
    assert status == 400
    assert problem in sentence


# --- what subclasses use ----------------------------------------------------------------------------------------------


def test_byte_pair_tokens_lose_their_mark():
    assert TextHandler().get_word_token(["Ġhello", "wor", "ld"]) == ["hello", "wor", "ld"]


def test_attributions_are_summed_up_as_shares():
    shares = TextHandler().summarize_attributions(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    assert shares.tolist() == [pytest.approx([0.3536, 0.3536], abs=1e-3)] * 2


def test_the_misspelt_name_of_a_step_still_works():
    assert TextHandler()._remove_puncutation("a, b.") == "a b"


def test_captums_layer_attribution_is_at_hand(classifier):
    pytest.importorskip("captum", reason="explanations need captum: pip install captum")
    handler = TextHandler()
    handler.model = made()
    attributions = handler.lig.attribute(
        torch.tensor([3, 6]), torch.tensor([0, 0]), additional_forward_args=(torch.tensor([0]),), target=0
    )
    assert attributions.shape == (1, 8)


def test_each_stage_is_timed_once_where_the_settings_say_so(serve, vocabulary, state_dict, answers, request_of):
    files = {
        "net.py": source(),
        "net.pth": state_dict(made()),
        "source_vocab.pt": vocabulary,
        "config.yaml": "handler: {profile: true}",
    }
    names = {"modelFile": "net.py", "serializedFile": "net.pth", "configFile": "config.yaml"}
    handler = serve("text_classifier", files, **names)
    answers(handler, request_of("the team"))
    stages = [update.name for update in handler.take_metrics() if update.name.startswith("ts_handler_")]
    assert stages == ["ts_handler_preprocess", "ts_handler_inference", "ts_handler_postprocess"]
