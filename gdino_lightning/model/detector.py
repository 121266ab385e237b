"""Grounding DINO in readable stages over the modules of transformers.

`encode_text -> encode_image -> fuse -> select_queries -> decode`, the boxes of the paper's figure 3. The stages call
the submodules of a `GroundingDinoForObjectDetection` (or `MMGroundingDinoForObjectDetection`, which MM-GDINO and LLMDet
weights use), some of them replaced by leaner forms (`lean`), so every weight keeps the name it has there; with plain
prompts the outputs equal that class's own forward. What differs: words come in blocks with our own mask, map and
positions (transformers derives them from "." and "?" tokens), the outputs of the encoder stage are the selected
proposals, attached to the graph (transformers scores the query table there), every decoder layer is returned, boxes may
be looked at twice, and a picture with fewer image tokens than queries gives fewer queries instead of an error.

Letters: B pictures, Q queries, R extra queries, T text tokens, L decoder layers, S image tokens of all levels, D width.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import ParamSpec, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import GroundingDinoForObjectDetection, MMGroundingDinoForObjectDetection
from transformers.models.grounding_dino.modeling_grounding_dino import encode_sinusoidal_position_embedding

from gdino_lightning.errors import PromptError
from gdino_lightning.model.features import ExtraQueries, ImageFeatures, StageOutputs, TextFeatures
from gdino_lightning.model.layers import decoder_layer, encoder_layer, self_attention_mask
from gdino_lightning.model.lean import make_lean
from gdino_lightning.model.text import BlockEncoder, token_rows
from gdino_lightning.prompt import Prompt, PromptBatch

Inputs = ParamSpec("Inputs")
Outputs = TypeVar("Outputs")

HuggingFaceDetector = GroundingDinoForObjectDetection | MMGroundingDinoForObjectDetection


@dataclass(frozen=True)
class Switches:
    """What of the paper's design is on, and how gradients are computed.

    Attributes:
        fusion: Image and text look at each other in the feature enhancer.
        text_guided_queries: The decoder starts from the proposals that match the text best; off, from learned anchors
            that are the same for every picture and text ("static query selection").
        text_cross_attention: Decoder layers look at the text.
        sub_sentence: Blocks do not see one another; off, every token sees every other one ("word level").
        look_forward_twice: A layer's box loss reaches the layer before it, too (DINO, section 3.5); changes gradients
            only, never the outputs.
        gradient_checkpointing: Keep only what goes into each layer and compute the rest again in the backward pass.
        triton: On CUDA GPUs, deformable attention samples in a Triton kernel; elsewhere nothing changes.
    """

    fusion: bool = True
    text_guided_queries: bool = True
    text_cross_attention: bool = True
    sub_sentence: bool = True
    look_forward_twice: bool = True
    gradient_checkpointing: bool = False
    triton: bool = False

    @property
    def architecture(self) -> dict[str, bool]:
        """The switches that decide what the weights mean; the others change how they are trained."""
        names = ("fusion", "text_guided_queries", "text_cross_attention", "sub_sentence")
        return {name: getattr(self, name) for name in names}


class GroundingDetector(nn.Module):
    """Runs a Hugging Face Grounding DINO in stages.

    Args:
        model: The detector whose weights and submodules are used; kept as `self.model`.
        switches: What is on.

    Raises:
        ValueError: If the text encoder would not mask with scaled-dot-product attention: the eager one adds the boolean
            mask instead of applying it, and phrases leak into one another.
    """

    def __init__(self, model: HuggingFaceDetector, switches: Switches | None = None) -> None:
        super().__init__()
        attention = model.model.text_backbone.config._attn_implementation
        if attention != "sdpa":
            raise ValueError(
                f"the text encoder must use sdpa attention, not {attention!r}: eager ignores the phrase mask"
            )
        self.model = model
        self.switches = switches or Switches()
        make_lean(model, triton=self.switches.triton)
        self._blocks = BlockEncoder(model.model.text_backbone)
        if not self.switches.text_guided_queries:
            add_static_anchors(model)
        if self.switches.gradient_checkpointing:
            for backbone in (model.model.backbone.conv_encoder.model, model.model.text_backbone):
                backbone.activation_checkpointing_enable({"use_reentrant": False})

    def train(self, mode: bool = True) -> "GroundingDetector":
        """Switch modes; at a change, text that was encoded by a learning text encoder is forgotten."""
        changes = mode != self.training
        super().train(mode)
        if changes and any(parameter.requires_grad for parameter in self.model.model.text_backbone.parameters()):
            self._blocks.clear()
        return self

    def forward(
        self,
        pixels: Tensor,
        pixel_mask: Tensor,
        prompts: Prompt | PromptBatch,
        extra: ExtraQueries | None = None,
    ) -> StageOutputs:
        """Detect the prompts' phrases.

        Args:
            pixels: (B, 3, H, W) normalised pictures, 0 where padded.
            pixel_mask: (B, H, W) bool, True on the picture; padding lies right and below.
            prompts: The words: one prompt for all pictures, or one for each.
            extra: Further queries for the decoder, in training.
        """
        return self.ground(self.encode_image(pixels, pixel_mask), prompts, extra)

    def ground(
        self, image: ImageFeatures, prompts: Prompt | PromptBatch, extra: ExtraQueries | None = None
    ) -> StageOutputs:
        """Detect phrases in pictures that are encoded already; many prompts can ask about the same pictures."""
        image, text = self._fused(image, prompts)
        logits, boxes, content, references = self.select_queries(image, text)
        if extra is None:
            all_logits, all_boxes = self.decode(image, text, content, references)
            return StageOutputs(torch.stack([logits, *all_logits]), torch.stack([boxes, *all_boxes]))
        count = content.shape[1]
        all_logits, all_boxes = self.decode(
            image,
            text,
            torch.cat([content, extra.token_weights @ text.features], dim=1),
            torch.cat([references, extra.boxes], dim=1),
            self_attention_mask(count, extra),
        )
        return StageOutputs(
            logits=torch.stack([logits, *(each[:, :count] for each in all_logits)]),
            boxes=torch.stack([boxes, *(each[:, :count] for each in all_boxes)]),
            extra_logits=torch.stack([each[:, count:] for each in all_logits]),
            extra_boxes=torch.stack([each[:, count:] for each in all_boxes]),
        )

    def answer(self, image: ImageFeatures, prompts: Prompt | PromptBatch) -> tuple[Tensor, Tensor]:
        """Detect as `ground` does, and return the last layer's logits (B, Q, T) and boxes (B, Q, 4) cxcywh_norm."""
        image, text = self._fused(image, prompts)
        _, _, content, references = self.select_queries(image, text)
        (logits,), (boxes,) = self.decode(image, text, content, references, final_only=True)
        return logits, boxes

    def encode_text(self, prompts: PromptBatch) -> TextFeatures:
        """Encode each distinct block once and lay the results out by prompt: (B, T, D), 0 on padding.

        Raises:
            PromptError: If a prompt is longer than the model reads.
        """
        core = self.model.model
        device = core.level_embed.device
        tokens = prompts.token_mask.shape[1]
        if tokens > core.config.max_text_len:
            raise PromptError(
                f"prompt: {tokens} tokens, the model reads {core.config.max_text_len} at once; pack the phrases with "
                "Vocabulary.chunks"
            )
        if not self.switches.sub_sentence:
            prompts = prompts.as_one_block()
        shared = len(set(map(id, prompts.prompts))) == 1
        rows = prompts.prompts[:1] if shared else prompts.prompts
        table, starts = self._blocks(rows)
        features = core.text_projection(table)[token_rows(rows, tokens, starts).to(device)]
        prompts = prompts.to(device)
        return TextFeatures(
            features=features.expand(len(prompts.prompts), -1, -1) * prompts.token_mask[..., None],
            token_mask=prompts.token_mask,
            self_attention_mask=prompts.self_attention_mask,
            position_ids=prompts.position_ids,
            is_padded=prompts.is_padded,
        )

    def encode_image(self, pixels: Tensor, pixel_mask: Tensor) -> ImageFeatures:
        """Extract the backbone's levels, project them to the model's width and flatten them."""
        core = self.model.model
        levels, positions = core.backbone(pixels, pixel_mask)
        maps = [core.input_proj_vision[i](feature) for i, (feature, _) in enumerate(levels)]
        masks = [mask for _, mask in levels]
        for level in range(len(maps), core.config.num_feature_levels):
            source = levels[-1][0] if level == len(levels) else maps[-1]
            feature = core.input_proj_vision[level](source)
            mask = F.interpolate(pixel_mask[None].float(), size=feature.shape[-2:]).to(torch.bool)[0]
            maps.append(feature)
            masks.append(mask)
            positions.append(core.backbone.position_embedding(feature, mask).to(feature.dtype))
        positions = [p.flatten(2).transpose(1, 2) + core.level_embed[i] for i, p in enumerate(positions)]
        shapes = [(feature.shape[-2], feature.shape[-1]) for feature in maps]
        spatial_shapes = torch.tensor(shapes, dtype=torch.long)
        sizes = spatial_shapes.prod(1)
        # shares of a side are told in full precision: a rounded one moves boxes by pixels
        ratios = [core.get_valid_ratio(mask, dtype=core.level_embed.dtype) for mask in masks]
        return ImageFeatures(
            features=torch.cat([feature.flatten(2).transpose(1, 2) for feature in maps], dim=1),
            positions=torch.cat(positions, dim=1),
            mask=torch.cat([mask.flatten(1) for mask in masks], dim=1),
            shapes=shapes,
            spatial_shapes=spatial_shapes.to(pixels.device),
            level_starts=(sizes.cumsum(0) - sizes).to(pixels.device),
            valid_ratios=torch.stack(ratios, dim=1),
        )

    def fuse(self, image: ImageFeatures, text: TextFeatures) -> tuple[ImageFeatures, TextFeatures]:
        """Run the feature enhancer: image and text look at each other, then each at itself, layer by layer."""
        encoder = self.model.model.encoder
        references = encoder.get_reference_points(image.shapes, image.valid_ratios, device=image.features.device)
        for layer in encoder.layers:
            vision, words = self._run(encoder_layer, layer, image, text, references, fusion=self.switches.fusion)
            image, text = replace(image, features=vision), replace(text, features=words)
        return image, text

    def select_queries(
        self, image: ImageFeatures, text: TextFeatures, picked: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pick the Q image tokens that match any text token best (language-guided query selection, section 3.2).

        Args:
            image: Fused image features.
            text: Fused text features.
            picked: (B, Q) int64 image tokens to take instead, to follow another selection step by step.

        Returns:
            Logits (B, Q, T) and boxes (B, Q, 4) cxcywh_norm of the picked proposals, attached to the graph, and what
            the decoder starts from: content queries (B, Q, D) and boxes (B, Q, 4) cxcywh_norm, detached or learned.
        """
        core = self.model.model
        proposals, anchors = core.generate_encoder_output_proposals(image.features, ~image.mask, image.shapes)
        logits = self._contrast(core.encoder_output_class_embed, proposals, text)
        count = min(core.config.num_queries, logits.shape[1])
        if picked is None:
            picked = logits.detach().amax(-1).topk(count, dim=1).indices
        picked = picked[..., None]
        box_logits = core.encoder_output_bbox_embed(proposals) + anchors
        boxes = box_logits.gather(1, picked.expand(-1, -1, 4)).sigmoid()
        if core.config.embedding_init_target:
            # `len` would be a plain number, and an exported graph fixed to one batch size
            content = core.query_position_embeddings.weight[:count].expand(logits.shape[0], -1, -1)
        else:
            content = proposals.gather(1, picked.expand(-1, -1, proposals.shape[-1])).detach()
        if self.switches.text_guided_queries:
            references = boxes.detach()
        else:
            references = core.reference_points.weight[:count].sigmoid().expand(logits.shape[0], -1, -1)
        return logits.gather(1, picked.expand(-1, -1, logits.shape[-1])), boxes, content, references

    def decode(
        self,
        image: ImageFeatures,
        text: TextFeatures,
        content: Tensor,
        references: Tensor,
        self_mask: Tensor | None = None,
        *,
        final_only: bool = False,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Refine queries and boxes layer by layer (cross-modality decoder, section 3.3).

        Args:
            image: Fused image features.
            text: Fused text features.
            content: (B, Q, D) content queries.
            references: (B, Q, 4) boxes to start from, cxcywh_norm.
            self_mask: (B, 1, Q, Q) bool, True where a query may look at another one; None for everywhere.
            final_only: Let the last layer alone say what it found.

        Returns:
            L logits (B, Q, T) and L boxes (B, Q, 4) cxcywh_norm, or one of each.
        """
        decoder = self.model.model.decoder
        ratios = torch.cat([image.valid_ratios, image.valid_ratios], dim=-1)[:, None]
        hidden, attached, all_logits, all_boxes = content, references, [], []
        for index, layer in enumerate(decoder.layers):
            points = references[:, :, None] * ratios
            sines = encode_sinusoidal_position_embedding(points[:, :, 0], num_pos_feats=decoder.config.d_model // 2)
            positions = decoder.reference_points_head(sines)
            hidden = self._run(
                decoder_layer,
                layer,
                hidden,
                positions,
                points,
                image,
                text,
                self_mask,
                text_cross_attention=self.switches.text_cross_attention,
            )
            is_final = index == len(decoder.layers) - 1
            if is_final or not final_only:
                normed = decoder.layer_norm(hidden)
                start = attached if self.switches.look_forward_twice else references
                all_logits.append(self._contrast(self.model.class_embed[index], normed, text))
                all_boxes.append((self.model.bbox_embed[index](normed) + _logit(start)).sigmoid())
            if is_final:
                break
            # The next layer starts from the un-normed state's box, as in transformers; no gradient flows that way.
            attached = (decoder.bbox_embed[index](hidden) + _logit(references)).sigmoid()
            references = attached.detach()
        return all_logits, all_boxes

    def _fused(self, image: ImageFeatures, prompts: Prompt | PromptBatch) -> tuple[ImageFeatures, TextFeatures]:
        batch = PromptBatch.of([prompts]) if isinstance(prompts, Prompt) else prompts
        return self.fuse(image, self.encode_text(batch.expand(len(image.features))))

    def _run(self, layer: Callable[Inputs, Outputs], *inputs: Inputs.args, **settings: Inputs.kwargs) -> Outputs:
        """Run a layer, and keep only its inputs for the backward pass where memory is to be saved."""
        if self.switches.gradient_checkpointing and self.training and torch.is_grad_enabled():
            outputs: Outputs = checkpoint(partial(layer, **settings), *inputs, use_reentrant=False)
            return outputs
        return layer(*inputs, **settings)

    @staticmethod
    def _contrast(embed: nn.Module, queries: Tensor, text: TextFeatures) -> Tensor:
        """Compare queries (B, Q, D) with text tokens: (B, Q, T), without transformers' padding to its longest text."""
        logits: Tensor = embed(queries, text.features, text.token_mask)
        return logits[..., : text.features.shape[1]]


def add_static_anchors(model: HuggingFaceDetector) -> None:
    """Give the model learned anchors, drawn evenly, under the name that transformers has for them.

    They replace the proposals as what the decoder starts from, as in DAB-DETR. Nothing happens if they are there.
    """
    core = model.model
    if not hasattr(core, "reference_points"):
        generator = torch.Generator().manual_seed(0)
        anchors = torch.rand(core.config.num_queries, 4, generator=generator) * torch.tensor([1, 1, 0.5, 0.5])
        core.reference_points = nn.Embedding(len(anchors), 4, _weight=_logit(anchors))


def _logit(boxes: Tensor) -> Tensor:
    logits: Tensor = torch.special.logit(boxes, eps=1e-5)
    return logits
