# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Fine-tuning Grounding DINO on face masks
#
# From XML files to a report, with a look inside the model on the way. As it stands, everything
# runs offline on two CPU cores in a few minutes: pictures are drawn, the model is a miniature.
# With one other line, `weights = "IDEA-Research/grounding-dino-tiny"`, the same cells are set up
# to fine-tune the published model on a GPU of 16 GB.
#
# The next cell is for a hosted notebook. It installs the project where it is missing, and does
# nothing where it is there.

# %%
import importlib.util
import subprocess
import sys

PROJECT = ".."  # what pip installs: the folder of your clone, or "git+" and the URL you cloned from

if importlib.util.find_spec("gdino_lightning") is None:
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", PROJECT, "kagglehub"], check=True)

# %% [markdown]
# ## Settings
#
# - `weights`: `nano`, the miniature, or `IDEA-Research/grounding-dino-tiny`. The hub's weights are
#   fetched once, some 700 MB.
# - `source`: `sample` draws pictures. For the real photographs, give the path of the archive
#   [Face Mask Detection](https://www.kaggle.com/datasets/andrewmvd/face-mask-detection) (a zip, or
#   a folder with `images/` and `annotations/`), or `kaggle` to fetch it with `kagglehub`.

# %% tags=["parameters"]
weights = "nano"
source = "sample"
num_pictures = 320  # how many are drawn; a quarter of them is kept for the test
epochs = 8
home = ".."  # gets data/ and runs/; "." is right on a hosted machine

# %%
import logging
import warnings
from itertools import count
from pathlib import Path
from types import SimpleNamespace

warnings.filterwarnings("ignore", message="IProgress not found")  # no progress bars here

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from IPython.display import Image, display
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import LearningRateMonitor

from gdino_lightning.boxes import cxcywh_norm_to_xyxy_px
from gdino_lightning.cli.quiet import quiet
from gdino_lightning.data.canvas import Sizing, normalise_on_canvas, resize
from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.data.images import read_rgb
from gdino_lightning.data.pictures import read_split
from gdino_lightning.data.prepare import prepare
from gdino_lightning.data.sample import draw_sample
from gdino_lightning.data.transforms import Augmentation
from gdino_lightning.data.world import draw_scene
from gdino_lightning.inference.draw import PALETTE
from gdino_lightning.inference.postprocess import phrase_scores, postprocess
from gdino_lightning.model.detector import GroundingDetector, Switches
from gdino_lightning.prompt import PromptBatch, build_prompt
from gdino_lightning.training.callbacks import DetectionPictures, EpochCheckpoints, RampedEMA, ResultsPlot
from gdino_lightning.training.metrics_csv import MetricsCSVLogger
from gdino_lightning.training.module import GroundingDinoModule

quiet()
logging.basicConfig(stream=sys.stdout, format="%(message)s", force=True)
logging.getLogger("gdino_lightning").setLevel(logging.INFO)
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
seed_everything(0, verbose=False)
plt.rcParams |= {"figure.constrained_layout.use": True, "font.size": 9, "axes.titlesize": 9}

# %% [markdown]
# Two sets of settings: for the miniature on a CPU, and for the published model on a GPU of 16 GB.

# %%
PHRASES = {  # class name -> what the model reads
    "with_mask": "with mask",
    "without_mask": "without mask",
    "mask_weared_incorrect": "mask worn incorrectly",
}
classes = list(PHRASES)

miniature = weights != "IDEA-Research/grounding-dino-tiny"
if miniature:
    device = "cpu"
    model_settings = {
        "learning_rate": 1e-3,  # small weights take ten times the usual rate
        "freeze": [],  # "mask" is a new word to the miniature
        "lr_multipliers": {},
        "schedule": "cosine",
        "warmup_steps": 20,
    }
    data_settings = {
        "batch_size": 4,
        "eval_batch_size": 16,
        "short_side": 192,
        "long_side_max": 192,
        "canvas_multiple": 32,
        "augmentation": Augmentation(flip=0.5, photometric=0.2, crop=0.0),
        "num_workers": 0,
        "cache": True,
    }
    trainer_settings = {"precision": "32-true"}
    averaging = [RampedEMA(0.99)]  # validated and kept: weights averaged over some 100 steps
else:  # for a GPU of 16 GB; out of memory? First halve the batch and double the accumulation
    assert torch.cuda.is_available(), "the large model needs a GPU; without one take 'nano'"
    device = "cuda"
    has_bfloat16 = torch.cuda.get_device_capability() >= (8, 0)
    model_settings = {
        "learning_rate": 1e-4,
        "lr_multipliers": {"backbone": 0.1},
        "freeze": ["text_encoder"],  # no word is forgotten
        "warmup_steps": 100,
        "gradient_checkpointing": True,  # less memory, a longer step
    }
    data_settings = {
        "batch_size": 2,
        "short_side": 640,
        "long_side_max": 1066,
        "canvas_multiple": 64,
        "train_short_sides": [480, 560, 640],
        "num_workers": 2,
    }
    trainer_settings = {
        "precision": "bf16-mixed" if has_bfloat16 else "16-mixed",
        "accumulate_grad_batches": 4,  # 8 pictures a step
    }
    averaging = []

# %% [markdown]
# ## The data
#
# Pictures in `images/`, one Pascal VOC file for each in `annotations/`. A box is four corners in
# pixels, a class is a name.

# %%
home = Path(home)
num_train = 600  # of the 853 real pictures
if source == "kaggle":
    import kagglehub

    source = kagglehub.dataset_download("andrewmvd/face-mask-detection")
elif source == "sample":
    source = home / "data" / f"notebook-source-{num_pictures}"
    num_train = num_pictures * 3 // 4
    draw_sample(source, num_images=num_pictures, progress=False)

root = home / "data" / "notebook"
print(prepare(Path(source), root, num_train=num_train, progress=False))

# %% [markdown]
# `prepare` has checked every file, split the pictures into train and test and written a table for
# each. This is one picture, its XML and its rows.


# %%
def show(axis, picture, title="", extent=None):
    """Show a picture without ticks."""
    axis.imshow(picture, extent=extent)
    axis.set(title=title, xticks=[], yticks=[])


def show_boxes(axis, picture, title, boxes, labels, scores=None):
    """Show a picture with boxes (N, 4) xyxy_px in the colours of their classes."""
    show(axis, picture, title)
    for number, ((x1, y1, x2, y2), label) in enumerate(zip(boxes.tolist(), labels, strict=True)):
        color = np.array(PALETTE[label]) / 255
        style = {"fill": False, "edgecolor": color, "linewidth": 2}
        axis.add_patch(plt.Rectangle((x1, y1), x2 - x1, y2 - y1, **style))
        if scores is not None:
            where = {"xytext": (2, -2), "textcoords": "offset points", "va": "top"}
            box = {"facecolor": color, "edgecolor": "none", "pad": 1}
            text = f"{scores[number]:.2f}"
            axis.annotate(text, (x1, y1), **where, color="white", fontsize=7, bbox=box)


def add_legend(figure):
    """Say which colour is which class."""
    patches = [plt.Rectangle((0, 0), 1, 1, color=np.array(color) / 255) for color in PALETTE]
    figure.legend(patches[: len(classes)], classes, loc="outside lower center", ncols=len(classes))


def show_truth(axis, picture, title):
    """Show a picture of a table with its boxes."""
    labels = [classes.index(name) for name in picture.labels]
    show_boxes(axis, read_rgb(picture.path), title, picture.boxes_px, labels)


def wide_pictures(split, num_boxes):
    """Pictures of a split, wide ones first, then those with about so many boxes."""
    return sorted(
        read_split(root / split), key=lambda p: (p.width < p.height, abs(len(p.labels) - num_boxes))
    )


example = wide_pictures("train", 2)[0]
figure, axis = plt.subplots(figsize=(5, 4))
show_truth(axis, example, example.name)
add_legend(figure)
plt.show()
print((root / "train" / "labels" / example.name).with_suffix(".xml").read_text())
table = pd.read_csv(root / "train" / "annotations.csv")
display(table[table["image_name"] == example.name])

# %% [markdown]
# A few more, and how many boxes there are of each class.

# %%
figure, axes = plt.subplots(2, 3, figsize=(11, 6))
for axis, picture in zip(axes.flat, wide_pictures("train", 4), strict=False):
    show_truth(axis, picture, picture.name)
add_legend(figure)
plt.show()
display(table["label_name"].value_counts().to_frame("boxes in train"))

# %% [markdown]
# ## Inside the model
#
# Four ideas of [Grounding DINO](https://arxiv.org/abs/2303.05499), each with a picture of what it
# does. Nothing is fine-tuned yet. The miniature knows a drawn world of shapes, animals and things,
# so it is asked about a scene of that world; the large model is asked about one of the pictures.

# %%
module = GroundingDinoModule(PHRASES, weights=weights, **model_settings)
asked_sizing = Sizing(160, 160, 32) if miniature else Sizing(640, 1066, 64)
data_sizing = Sizing(
    data_settings["short_side"], data_settings["long_side_max"], data_settings["canvas_multiple"]
)

if miniature:
    picture = draw_scene(7, 1, "seen").image
    phrases = ["blue hat", "orange hat", "yellow fish", "blue car", "red letter M"]
else:
    picture = read_rgb(example.path)
    phrases = ["face", "face mask", "hair", "eyes", "shirt"]


@torch.no_grad()
def run_stages(picture, phrases, sizing=asked_sizing, **switches):
    """Run the detector stage by stage; keep what the stages hand to one another."""
    module.to(device)
    detector = GroundingDetector(module.detector.model, Switches(**switches)).eval()
    prompt = build_prompt(phrases, module.tokenizer)
    height, width = picture.shape[:2]
    resized, canvas = sizing.resized(width, height), sizing.canvas(width, height)
    pixels, mask = normalise_on_canvas(resize(picture, resized), canvas)

    attention = []  # of each fusion layer: (heads, tokens, places), from words to the picture
    hooks = [
        layer.fusion_layer.register_forward_hook(lambda *call: attention.append(call[-1][1][1][0]))
        for layer in detector.model.model.encoder.layers
    ]
    text = detector.encode_text(PromptBatch.of([prompt]))
    image = detector.encode_image(pixels[None].to(device), mask[None].to(device))
    image, fused_text = detector.fuse(image, text)
    for hook in hooks:
        hook.remove()
    logits, boxes, content, references = detector.select_queries(image, fused_text)
    later_logits, later_boxes = detector.decode(image, fused_text, content, references)
    logits, boxes = (
        torch.cat(each).float().cpu() for each in ([logits, *later_logits], [boxes, *later_boxes])
    )  # (stages, queries, ...), the proposals first
    (found,) = postprocess(
        logits[-1:],
        boxes[-1:],
        prompt.phrase_map,
        [(width, height)],
        score_threshold=0.35,
        nms_iou=0.5,
    )
    return SimpleNamespace(
        prompt=prompt,
        words=[module.tokenizer.id_to_token(token) for token in prompt.input_ids.tolist()],
        text=text.features[0].cpu(),
        image=image.features[0].cpu(),
        shapes=image.shapes,
        attention=[each.cpu() for each in attention],
        word_scores=logits.sigmoid(),  # (stages, queries, tokens)
        scores=phrase_scores(logits, prompt.phrase_map),  # (stages, queries, phrases)
        boxes=cxcywh_norm_to_xyxy_px(boxes, width, height),  # (stages, queries, 4)
        found=found,
        size=(width, height),
        resized=resized,
        canvas=canvas,
    )


stages = run_stages(picture, phrases)
print("words the model reads:", " ".join(stages.words))
print("places in the picture:", len(stages.image))
print("queries:", stages.boxes.shape[1])

# %% [markdown]
# ### Early fusion: words look at the picture
#
# In every layer of the feature enhancer the words attend to the picture, and the picture to the
# words, long before any box exists. Bright is where a phrase looks most (each map on a scale of its
# own).


# %%
def on_picture(axis, stages, picture, values, title=""):
    """Lay a value for each picture place (all levels, averaged) over a dimmed picture."""
    levels = values.split([height * width for height, width in stages.shapes])
    size = (stages.canvas[1], stages.canvas[0])
    maps = [
        F.interpolate(level.view(1, 1, *shape), size=size, mode="bilinear")[0, 0]
        for level, shape in zip(levels, stages.shapes, strict=True)
    ]
    heat = torch.stack(maps).mean(0)[: stages.resized[1], : stages.resized[0]]
    heat = (heat - heat.min()) / (heat.max() - heat.min()).clamp(min=1e-9)
    color = plt.cm.inferno(heat)[..., :3]
    grey = resize(picture, stages.resized).mean(-1, keepdims=True) / 255
    show(axis, np.clip(0.25 * grey + 0.85 * color, 0, 1), title)


def phrase_mean(stages, by_token):
    """Average values of tokens (tokens, ...) over the tokens of each phrase (phrases, ...)."""
    members = stages.prompt.phrase_map.float()
    return members / members.sum(1, keepdim=True) @ by_token


layers = {1: stages.attention[0], len(stages.attention): stages.attention[-1]}
figure, axes = plt.subplots(len(layers), len(phrases) + 1, figsize=(13, 2.3 * len(layers)))
for row, (number, attention) in zip(axes, layers.items(), strict=True):
    show(row[0], picture)
    row[0].set_ylabel(f"fusion layer {number}")
    for axis, phrase, values in zip(
        row[1:], phrases, phrase_mean(stages, attention.mean(0)), strict=True
    ):
        on_picture(axis, stages, picture, values, phrase)
figure.suptitle("attention from words to the picture")
plt.show()


# %% [markdown]
# So the picture's features depend on the question. Other words, other features; without fusion
# the picture would be encoded the same whatever is asked.


# %%
def change(one, other):
    """Length of the difference in % of the length."""
    return 100 * float((one - other).norm() / one.norm())


for fusion in (True, False):
    one, other = (run_stages(picture, [phrase], fusion=fusion).image for phrase in phrases[:2])
    print(
        f"fusion {'on ' if fusion else 'off'}: from '{phrases[0]}' to '{phrases[1]}', "
        f"the picture's features change by {change(one, other):.2g} %"
    )

# %% [markdown]
# ### Language-guided queries: the words choose where to look closer
#
# Each place of the picture proposes a box. The proposals that match any word best become the
# queries of the decoder. Dots are the centres of all chosen proposals (the darker, the better the
# match), boxes the best ten. Below, the same picture is asked three things.

# %%
NUM_BEST = 10


def draw_box(axis, box, **style):
    """Draw the outline of a box xyxy_px."""
    x1, y1, x2, y2 = box.tolist()
    axis.add_patch(plt.Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, **style))


def best_queries(stages):
    """Indices of the proposals that match any word best."""
    return stages.word_scores[0].amax(-1).topk(NUM_BEST).indices


def centres(boxes):
    """Centres (N, 2) of boxes (N, 4) xyxy_px."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def show_queries(axis, stages, picture, title):
    """Show the proposals that were selected, the best of them as boxes."""
    width, height = stages.size
    show(axis, picture // 2 + 127, title, extent=(0, width, height, 0))
    scores = stages.word_scores[0].amax(-1)
    style = {"alpha": (scores / scores.max()).clamp(0.1, 1), "c": "#0072B2", "linewidths": 0}
    axis.scatter(*centres(stages.boxes[0]).T, s=26, **style, zorder=3)
    for box in stages.boxes[0, best_queries(stages)]:
        draw_box(axis, box, color="#D55E00", linewidth=1.2, alpha=0.8)
    axis.set(xlim=(0, width), ylim=(height, 0))


def share_inside(stages, boxes):
    """Share of the best proposals with their centre in one of some boxes (N, 4) xyxy_px."""
    points = centres(stages.boxes[0, best_queries(stages)])[:, None]
    return float(((boxes[:, :2] < points) & (points < boxes[:, 2:])).all(-1).any(1).float().mean())


figure, axes = plt.subplots(1, 3, figsize=(12, 4.4))
asked = {phrase: run_stages(picture, [phrase]) for phrase in phrases[:3]}
for axis, (phrase, alone) in zip(axes, asked.items(), strict=True):
    show_queries(axis, alone, picture, f"asked for: {phrase}")
figure.suptitle("selected queries")
plt.show()

# %% [markdown]
# How many of the best ten proposals have their centre inside the box that the model in the end
# gives to a phrase? Rows are what was asked.

# %%
answers = {phrase: alone.boxes[-1, alone.scores[-1].argmax()] for phrase, alone in asked.items()}
shares = {
    f"asked for {phrase}": {
        f"in the box of {name}": share_inside(alone, box[None]) for name, box in answers.items()
    }
    for phrase, alone in asked.items()
}
display(pd.DataFrame(shares).T.style.format("{:.0%}").background_gradient("Greens", vmin=0, vmax=1))

# %% [markdown]
# ### Cross-modality decoder: boxes move, words decide
#
# Each decoder layer lets the queries look at one another, at the words and at the picture, and
# then moves their boxes. Here is the best query of each phrase, from the proposal (pale) to the
# last layer (dark).

# %%
num_stages = len(stages.boxes)
shades = plt.cm.viridis_r(np.linspace(0.1, 1, num_stages))
names = ["proposal", *(f"layer {number}" for number in range(1, num_stages))]
best = stages.scores[-1].argmax(0).tolist()
figure, axes = plt.subplots(1, len(phrases), figsize=(13, 3.4))
for axis, phrase, query, number in zip(axes, phrases, best, count(), strict=False):
    width, height = stages.size
    score = float(stages.scores[-1, query, number])
    show(axis, picture // 2 + 127, f"{phrase}: {score:.2f}", extent=(0, width, height, 0))
    for stage, (shade, name) in enumerate(zip(shades, names, strict=True)):
        draw_box(axis, stages.boxes[stage, query], color=shade, linewidth=2, label=name)
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=num_stages)
figure.suptitle("the best query of each phrase, layer by layer")
plt.show()

# %% [markdown]
# A query's answer is a probability for every word. A query that found something lights up at the
# words of its phrase, and at no others.

# %%
answers = stages.word_scores[-1, best]
figure, axis = plt.subplots(figsize=(10, 2.8))
drawn = axis.imshow(answers, cmap="Blues", vmin=0, vmax=1, aspect="auto")
axis.set_xticks(range(len(stages.words)), stages.words, rotation=60, ha="right")
axis.set_yticks(range(len(phrases)), [f"best query of '{phrase}'" for phrase in phrases])
axis.set_title("probability that a query names a word")
figure.colorbar(drawn, ax=axis)
plt.show()

# %% [markdown]
# ### Sub-sentence grounding: phrases do not read one another
#
# All phrases stand in one prompt. In the text encoder a phrase sees its own words only, so it
# means the same whatever stands beside it. Dark is what a word may look at.

# %%
masks = {
    "sub-sentence: each phrase for itself": stages.prompt.self_attention_mask,
    "without: all words see one another": stages.prompt.as_one_block().self_attention_mask,
}
_, axes = plt.subplots(1, 2, figsize=(11, 5.4))
ticks = range(len(stages.words))
for axis, (title, mask) in zip(axes, masks.items(), strict=True):
    axis.imshow(mask, cmap="Blues", vmin=0, vmax=1.2)
    axis.set_xticks(ticks, stages.words, rotation=90, fontsize=8)
    axis.set_yticks(ticks, stages.words, fontsize=8)
    axis.set_xticks(np.arange(len(ticks) + 1) - 0.5, minor=True)
    axis.set_yticks(np.arange(len(ticks) + 1) - 0.5, minor=True)
    axis.grid(which="minor", color="white", linewidth=1)
    axis.tick_params(which="both", length=0)
    axis.set_title(title)
plt.show()

for sub_sentence in (True, False):
    alone, among = (
        phrase_mean(each, each.text)[0]
        for each in (
            run_stages(picture, phrases[:1], sub_sentence=sub_sentence),
            run_stages(picture, phrases, sub_sentence=sub_sentence),
        )
    )
    print(
        f"{'with the mask:   ' if sub_sentence else 'without the mask:'} the other phrases change "
        f"the features of '{phrases[0]}' by {change(alone, among):.2g} %"
    )

# %% [markdown]
# ## Fine-tuning
#
# First the scores on the test pictures as the model is (zero-shot), and its answers on a few of
# them to compare with later.

# %%
data = DetectionDataModule(str(root), PHRASES, **data_settings)
few = wide_pictures("test", 4)[:3]
few_pixels = [read_rgb(each.path) for each in few]
accelerator = "gpu" if device == "cuda" else "cpu"
common = {"accelerator": accelerator, "devices": 1, "use_distributed_sampler": False} | {
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def answer_few():
    """Ask for the classes in a few test pictures."""
    return [run_stages(each, list(PHRASES.values()), data_sizing) for each in few_pixels]


few_before = answer_few()
tester = Trainer(logger=False, **common, precision=trainer_settings["precision"])
(scores_before,) = tester.test(module, data, verbose=False)
print(f"zero-shot, test pictures: mAP50 {scores_before['test/map_50']:.3f}")

# %% [markdown]
# Lightning's `Trainer` does the rest. Every epoch is scored on pictures held out of train, and the
# best epoch by mAP is kept.

# %%
runs = (home / "runs" / f"notebook-{number}" for number in count(1))
run = next(folder for folder in runs if not folder.exists())
trainer = Trainer(
    default_root_dir=run,
    max_epochs=epochs,
    gradient_clip_val=0.1,
    num_sanity_val_steps=-1,  # score once before the first step
    log_every_n_steps=10,
    logger=MetricsCSVLogger(run),
    callbacks=[
        EpochCheckpoints(monitor="val/map", keep=1),
        LearningRateMonitor(logging_interval="step"),
        DetectionPictures(num_test_pictures=12),
        ResultsPlot(),
        *averaging,
    ],
    **common,
    **trainer_settings,
)
trainer.fit(module, data)

# %%
(scores_after,) = trainer.test(module, data, ckpt_path="best", verbose=False)
rows = ["map", "map_50", "map_75", *(f"map/{name}" for name in classes)]
report = pd.DataFrame(
    {
        "zero-shot": [scores_before[f"test/{row}"] for row in rows],
        "fine-tuned": [scores_after[f"test/{row}"] for row in rows],
    },
    index=rows,
)
display(report.style.format("{:.3f}").background_gradient("Greens", vmin=0, vmax=1, axis=None))

# %% [markdown]
# ## Report
#
# The curves: losses, scores, learning rate. Stars are the scores before training, the dotted line
# is the best epoch.

# %%
display(Image(run / "report" / "results.png"))

# %% [markdown]
# The selected queries in a few test pictures, before and after. How many of the best ten have their
# centre in a true box?

# %%
few_after = answer_few()
figure, axes = plt.subplots(2, len(few), figsize=(3.8 * len(few), 5.6), squeeze=False)
states = {"zero-shot": few_before, "fine-tuned": few_after}
for row, (name, answers) in zip(axes, states.items(), strict=True):
    for axis, stages, pixels in zip(row, answers, few_pixels, strict=True):
        show_queries(axis, stages, pixels, f"selected queries, {name}")
plt.show()

for name, answers in states.items():
    shares = [
        share_inside(stages, torch.from_numpy(each.boxes_px))
        for stages, each in zip(answers, few, strict=True)
    ]
    print(f"{name}: {np.mean(shares):.0%} of the best proposals on a true box")

# %% [markdown]
# And the answers: what scores above 0.35.


# %%
def show_found(axis, found, pixels, name):
    """Show the detections of a test picture."""
    title = f"{name}: {len(found)} found"
    show_boxes(axis, pixels, title, found.boxes, found.labels.tolist(), found.scores.tolist())


figure, axes = plt.subplots(3, len(few), figsize=(3.8 * len(few), 9), squeeze=False)
for column, picture, pixels, before, after in zip(
    axes.T, few, few_pixels, few_before, few_after, strict=True
):
    show_found(column[0], before.found, pixels, "zero-shot")
    show_found(column[1], after.found, pixels, "fine-tuned")
    show_truth(column[2], picture, "truth")
add_legend(figure)
figure.savefig(run / "report" / "before_after.png", dpi=100)
plt.show()

# %% [markdown]
# More test pictures, truth beside prediction:

# %%
display(Image(run / "report" / "test.jpg", width=1000))

# %% [markdown]
# What the run has left behind:

# %%
for path in sorted(path for path in run.rglob("*.*") if path.parent.name != "test"):
    print(f"{path}  ({path.stat().st_size / 1e6:.2f} MB)")

# %% [markdown]
# ## Next
#
# - The same as commands, with early stopping and resuming: `make demo` for the drawn pictures;
#   `make prepare SOURCE=archive.zip && make train && make evaluate` for the real ones.
# - Your own classes: other names in `PHRASES`, your own pictures and VOC files as `source`. Wording
#   matters, because the model reads it.
