import pytest
import torch

from gdino_lightning.inference.postprocess import Detections, merge, nms, phrase_scores, postprocess

INF = float("inf")


def logit(probability: float) -> float:
    return float(torch.logit(torch.tensor(probability, dtype=torch.float64)))


def test_phrase_scores_mean_and_max_by_hand() -> None:
    # tokens: [CLS] with mask . without mask . padding
    probabilities = [0.9, 0.2, 0.6, 0.9, 0.5, 0.1, 0.9]
    logits = torch.tensor([[[*map(logit, probabilities), -INF]]])
    phrases = torch.zeros(2, 8, dtype=torch.bool)
    phrases[0, 1:3] = True
    phrases[1, 4:6] = True
    assert phrase_scores(logits, phrases, "mean")[0, 0].tolist() == pytest.approx([0.4, 0.3])
    assert phrase_scores(logits, phrases, "max")[0, 0].tolist() == pytest.approx([0.6, 0.5])


@pytest.mark.parametrize("how", ["mean", "max"])
def test_infinite_padding_and_phrases_without_a_token_make_no_nan(how: str) -> None:
    logits = torch.full((2, 3, 4), -INF)
    logits[:, :, 1] = 0.0
    phrases = torch.zeros(2, 2, 4, dtype=torch.bool)  # the second picture's prompt has one phrase only
    phrases[0, 0, 1] = phrases[0, 1, 2] = phrases[1, 0, 1] = True
    scores = phrase_scores(logits, phrases, how)
    assert scores.shape == (2, 3, 2)
    assert scores[0, 0].tolist() == [0.5, 0.0]
    assert scores[1, 0].tolist() == [0.5, 0.0]


@pytest.mark.parametrize("how", ["mean", "max"])
def test_a_prompt_for_each_picture_equals_the_pictures_alone(how: str) -> None:
    logits = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    phrases = torch.rand(2, 3, 6, generator=torch.Generator().manual_seed(1)) > 0.5
    together = phrase_scores(logits, phrases, how)
    for i in range(2):
        assert torch.equal(together[i], phrase_scores(logits[i : i + 1], phrases[i], how)[0])


def test_half_precision_logits_are_scored_in_float32() -> None:
    logits = torch.tensor([[[-9.0]]])
    phrases = torch.ones(1, 1, dtype=torch.bool)
    half = phrase_scores(logits.bfloat16(), phrases)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(float(torch.sigmoid(torch.tensor(-9.0))), rel=1e-6)


def test_an_unknown_score_is_an_error() -> None:
    with pytest.raises(ValueError, match="'median'"):
        phrase_scores(torch.zeros(1, 1, 1), torch.ones(1, 1, dtype=torch.bool), "median")  # type: ignore[arg-type]


def test_top_pairs_in_pixels_of_the_stored_picture_clipped() -> None:
    # two queries, one token for each of two phrases
    logits = torch.tensor([[[logit(0.9), logit(0.3)], [logit(0.2), logit(0.8)]]])
    boxes = torch.tensor([[[0.5, 0.5, 0.5, 0.5], [0.9, 0.1, 0.4, 0.4]]])
    (found,) = postprocess(logits, boxes, torch.eye(2, dtype=torch.bool), [(400, 200)], top_k=3)
    assert found.scores.tolist() == pytest.approx([0.9, 0.8, 0.3])
    assert found.labels.tolist() == [0, 1, 1]
    assert found.labels.dtype == torch.int64
    torch.testing.assert_close(
        found.boxes,
        torch.tensor([[100.0, 50, 300, 150], [280, 0, 400, 60], [100, 50, 300, 150]]),
    )


def test_threshold_keeps_higher_scores_only_and_may_leave_nothing() -> None:
    logits = torch.zeros(1, 4, 1)
    boxes = torch.full((1, 4, 4), 0.5)
    phrases = torch.ones(1, 1, dtype=torch.bool)
    (nothing,) = postprocess(logits, boxes, phrases, [(10, 10)], score_threshold=0.5, nms_iou=0.5)
    assert nothing.boxes.shape == (0, 4)
    assert len(nothing) == 0
    (everything,) = postprocess(logits, boxes, phrases, [(10, 10)], score_threshold=0.49)
    assert len(everything) == 4


def test_equal_scores_go_to_the_lower_query() -> None:
    boxes = torch.rand(1, 50, 4, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    phrases = torch.ones(1, 1, dtype=torch.bool)
    (all_found,) = postprocess(torch.zeros(1, 50, 1), boxes, phrases, [(9, 9)])
    (found,) = postprocess(torch.zeros(1, 50, 1), boxes, phrases, [(9, 9)], top_k=3)
    assert torch.equal(found.boxes, all_found.boxes[:3])


def test_labels_are_the_classes_of_each_pictures_own_prompt() -> None:
    # the first picture is asked for the classes 7 and 2, the second for 4 alone; its padding phrase has no token
    logits = torch.tensor([[[logit(0.6), logit(0.7)]], [[logit(0.3), logit(0.9)]]])
    boxes = torch.full((2, 1, 4), 0.5)
    phrases = torch.tensor([[[True, False], [False, True]], [[True, False], [False, False]]])
    classes = torch.tensor([[7, 2], [4, -1]])
    first, second = postprocess(logits, boxes, phrases, [(10, 10), (10, 10)], classes=classes)
    assert first.labels.tolist() == [2, 7]
    assert first.scores.tolist() == pytest.approx([0.7, 0.6])
    assert second.labels.tolist() == [4]
    assert second.scores.tolist() == pytest.approx([0.3])


def test_merging_by_hand_keeps_the_best_and_of_equal_scores_the_earlier_prompts() -> None:
    def answer(scores: list[float], label: int) -> Detections:
        boxes = torch.tensor([[label, place, 50.0, 50.0] for place in range(len(scores))]).reshape(-1, 4)
        return Detections(boxes, torch.tensor(scores), torch.full((len(scores),), label))

    parts = [answer([0.8, 0.5, 0.2], 3), answer([], 1), answer([0.9, 0.5, 0.1], 0)]
    merged = merge(parts, top_k=4)
    assert merged.scores.tolist() == pytest.approx([0.9, 0.8, 0.5, 0.5])
    assert merged.labels.tolist() == [0, 3, 3, 0]
    assert merged.boxes[:, :2].tolist() == [[0, 0], [3, 0], [3, 1], [0, 1]]
    assert len(merge(parts)) == 6
    assert len(merge([answer([], 1)])) == 0


def test_merging_the_best_of_each_part_equals_the_best_of_all() -> None:
    logits = torch.randn(1, 30, 5, generator=torch.Generator().manual_seed(0))
    boxes = torch.rand(1, 30, 4, generator=torch.Generator().manual_seed(1)) * 0.4 + 0.3
    eye = torch.eye(5, dtype=torch.bool)
    (whole,) = postprocess(logits, boxes, eye, [(90, 70)], top_k=25)
    parts = []
    for rows in ([0, 3], [4, 2], [1]):
        classes = torch.tensor([rows])
        parts += postprocess(logits, boxes, eye[rows], [(90, 70)], classes=classes, top_k=25)
    merged = merge(parts, top_k=25)
    assert torch.equal(merged.scores, whole.scores)
    assert torch.equal(merged.labels, whole.labels)
    assert torch.equal(merged.boxes, whole.boxes)


def test_nms_by_hand_suppresses_within_a_label_only() -> None:
    # a and b overlap by 1/3, b and c by 1/3, a and c not at all; d is a's box with another label
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [0, 0, 10, 10]])
    found = Detections(boxes, torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([0, 0, 0, 1]))
    kept = nms(found, 0.3)
    assert kept.scores.tolist() == pytest.approx([0.9, 0.7, 0.6])  # b fell, so it does not suppress c
    assert len(nms(found, 0.34)) == 4


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_nms_equals_a_plain_loop_over_pairs(seed: int, agnostic: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(120, 2, generator=generator) * 60
    boxes = torch.cat([corner, corner + torch.rand(120, 2, generator=generator) * 40 + 1], dim=1)
    scores = torch.rand(120, generator=generator).sort(descending=True).values
    labels = torch.randint(3, (120,), generator=generator)
    overlaps = [0.4, 0.4, 0.4] if agnostic else [0.2, 0.4, 0.7]  # by label
    kept: list[int] = []
    for i in range(120):
        rivals = [j for j in kept if agnostic or labels[i] == labels[j]]
        if all(_iou(boxes[i], boxes[j]) <= overlaps[labels[i]] for j in rivals):
            kept.append(i)
    iou = torch.tensor(overlaps)[labels][:, None]
    result = nms(Detections(boxes, scores, labels), iou, agnostic=agnostic)
    assert 0 < len(kept) < 120
    assert torch.equal(result.scores, scores[kept])
    assert torch.equal(result.boxes, boxes[kept])


def test_nms_keeps_the_first_of_equal_scores_scores_of_zero_and_boxes_without_an_area() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [30, 30, 40, 40], [5, 5, 5, 5], [50, 50, 50, 60]])
    found = Detections(boxes, torch.tensor([0.5, 0.5, 0.0, 0.0, 0.0]), torch.zeros(5, dtype=torch.int64))
    assert nms(found, 0.5).boxes.tolist() == boxes[[0, 2, 3, 4]].tolist()
    assert len(nms(found, 1.0)) == 5
    assert len(nms(found.select(torch.zeros(5, dtype=torch.bool)), 0.5)) == 0


def _iou(a: torch.Tensor, b: torch.Tensor) -> float:
    width = max(0.0, float(min(a[2], b[2]) - max(a[0], b[0])))
    height = max(0.0, float(min(a[3], b[3]) - max(a[1], b[1])))
    both = float((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]))
    return width * height / (both - width * height)


def test_the_weakest_token_of_each_pair_is_kept() -> None:
    probabilities = [[0.9, 0.2, 0.6, 0.1], [0.7, 0.8, 0.3, 0.1]]
    logits = torch.tensor([[[logit(each) for each in row] for row in probabilities]])
    phrases = torch.tensor([[True, True, False, False], [False, False, True, False]])
    (found,) = postprocess(logits, torch.full((1, 2, 4), 0.5), phrases, [(10, 10)])
    assert found.scores.tolist() == pytest.approx([0.75, 0.6, 0.55, 0.3])
    assert found.weakest is not None
    assert found.weakest.tolist() == pytest.approx([0.7, 0.6, 0.2, 0.3])


def test_names_and_weakest_tokens_stay_with_their_boxes() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]])
    found = Detections(
        boxes,
        torch.tensor([0.9, 0.8, 0.7]),
        torch.tensor([0, 0, 1]),
        names=("cat", "dog"),
        weakest=torch.tensor([0.3, 0.2, 0.1]),
    )
    for kept in (nms(found, 0.5).cpu(), merge([found.select(torch.tensor([0])), found.select(torch.tensor([2]))])):
        assert kept.names == ("cat", "dog")
        assert kept.weakest is not None
        assert kept.weakest.tolist() == pytest.approx([0.3, 0.1])
        assert kept.texts() == ["cat", "dog"]
    bare = Detections(boxes, found.scores, found.labels)
    assert bare.texts() == ["0", "0", "1"]
    assert merge([bare, found]).weakest is None
