"""Grounding DINO in readable stages over the modules of transformers.

`encode_text -> encode_image -> fuse -> select_queries -> decode`, the boxes of the paper's figure 3. The stages call
the submodules of a `GroundingDinoForObjectDetection` (or `MMGroundingDinoForObjectDetection`), so every weight keeps
the name it has there; with a plain prompt the outputs equal that class's own forward. What differs: the sub-sentence
mask and position ids are ours (transformers derives them from "." and "?" tokens), the outputs of the encoder stage are
the selected proposals, attached to the graph (transformers scores the query table there), every decoder layer is
returned, and a picture with fewer image tokens than queries gives fewer queries instead of an error.

Letters: B pictures, Q queries, T text tokens, L decoder layers, S image tokens over all levels, D width, H, W pixels.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GroundingDinoForObjectDetection, MMGroundingDinoForObjectDetection
from transformers.models.grounding_dino.modeling_grounding_dino import encode_sinusoidal_position_embedding

from gdino_lightning.prompt import Prompt

HuggingFaceDetector = GroundingDinoForObjectDetection | MMGroundingDinoForObjectDetection


@dataclass
class TextFeatures:
    """What `encode_text` gives: features (B, T, D), who may look at whom (B, T, T) bool, position ids (B, T)."""

    features: Tensor
    self_attention_mask: Tensor
    position_ids: Tensor


@dataclass
class ImageFeatures:
    """What `encode_image` gives, flattened over the feature levels.

    Attributes:
        features: (B, S, D).
        positions: (B, S, D) sine embedding plus level embedding.
        mask: (B, S) bool, True on the picture.
        shapes: Height and width of each level, in tokens.
        valid_ratios: (B, levels, 2) share of each level's width and height that is picture, not padding.
    """

    features: Tensor
    positions: Tensor
    mask: Tensor
    shapes: list[tuple[int, int]]
    valid_ratios: Tensor

    @property
    def spatial_shapes(self) -> Tensor:
        """`shapes` as a (levels, 2) int64 tensor on the device of the features."""
        return torch.tensor(self.shapes, dtype=torch.long, device=self.features.device)


@dataclass
class StageOutputs:
    """Logits and boxes of the encoder stage and of every decoder layer, all attached to the graph.

    Attributes:
        logits: (1 + L, B, Q, T) dot products of query and token; the encoder stage first.
        boxes: (1 + L, B, Q, 4) cxcywh_norm of the picture's own size.
    """

    logits: Tensor
    boxes: Tensor

    @property
    def final_logits(self) -> Tensor:
        """(B, Q, T) logits of the last decoder layer."""
        return self.logits[-1]

    @property
    def final_boxes(self) -> Tensor:
        """(B, Q, 4) cxcywh_norm boxes of the last decoder layer."""
        return self.boxes[-1]


class GroundingDetector(nn.Module):
    """Runs a Hugging Face Grounding DINO in stages.

    Args:
        model: The detector whose weights and submodules are used; kept as `self.model`.

    Raises:
        ValueError: If the text encoder would not mask with scaled-dot-product attention: the eager one adds the boolean
            mask instead of applying it, and phrases leak into one another.
    """

    def __init__(self, model: HuggingFaceDetector) -> None:
        super().__init__()
        attention = model.model.text_backbone.config._attn_implementation
        if attention != "sdpa":
            raise ValueError(
                f"the text encoder must use sdpa attention, not {attention!r}: eager ignores the phrase mask"
            )
        self.model = model

    def forward(self, pixels: Tensor, pixel_mask: Tensor, prompt: Prompt) -> StageOutputs:
        """Detect the prompt's phrases.

        Args:
            pixels: (B, 3, H, W) normalised pictures, 0 where padded.
            pixel_mask: (B, H, W) bool, True on the picture; padding lies right and below.
            prompt: The words, shared by the whole batch.
        """
        text = self.encode_text(prompt, batch_size=len(pixels))
        image = self.encode_image(pixels, pixel_mask)
        image, text = self.fuse(image, text)
        logits, boxes, target = self.select_queries(image, text)
        decoder_logits, decoder_boxes = self.decode(image, text, target, boxes.detach())
        return StageOutputs(torch.stack([logits, *decoder_logits]), torch.stack([boxes, *decoder_boxes]))

    def encode_text(self, prompt: Prompt, batch_size: int) -> TextFeatures:
        """Encode the prompt once and share it: block-diagonal attention, positions restarting in each block."""
        core = self.model.model
        prompt = prompt.to(core.level_embed.device)
        ids = prompt.input_ids[None]
        mask = prompt.self_attention_mask[None]
        positions = prompt.position_ids[None]
        hidden = core.text_backbone(ids, mask[:, None], torch.zeros_like(ids), positions).last_hidden_state
        features = core.text_projection(hidden)
        return TextFeatures(
            features.expand(batch_size, -1, -1),
            mask.expand(batch_size, -1, -1),
            positions.expand(batch_size, -1),
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
        return ImageFeatures(
            features=torch.cat([feature.flatten(2).transpose(1, 2) for feature in maps], dim=1),
            positions=torch.cat(positions, dim=1),
            mask=torch.cat([mask.flatten(1) for mask in masks], dim=1),
            shapes=[(feature.shape[-2], feature.shape[-1]) for feature in maps],
            valid_ratios=torch.stack([core.get_valid_ratio(mask, dtype=maps[0].dtype) for mask in masks], dim=1),
        )

    def fuse(self, image: ImageFeatures, text: TextFeatures) -> tuple[ImageFeatures, TextFeatures]:
        """Run the feature enhancer: image and text look at each other, then each at itself, layer by layer."""
        encoder = self.model.model.encoder
        vision, words = image.features, text.features
        references = encoder.get_reference_points(image.shapes, image.valid_ratios, device=vision.device)
        for layer in encoder.layers:
            (vision, words), _ = layer(
                vision_features=vision,
                vision_position_embedding=image.positions,
                spatial_shapes=image.spatial_shapes,
                spatial_shapes_list=image.shapes,
                level_start_index=_level_starts(image.spatial_shapes),
                key_padding_mask=~image.mask,
                reference_points=references,
                text_features=words,
                text_attention_mask=None,  # a shared prompt has no padding
                text_self_attention_masks=~text.self_attention_mask,  # transformers inverts it once more inside
                text_position_ids=text.position_ids,
            )
        return (
            ImageFeatures(vision, image.positions, image.mask, image.shapes, image.valid_ratios),
            TextFeatures(words, text.self_attention_mask, text.position_ids),
        )

    def select_queries(self, image: ImageFeatures, text: TextFeatures) -> tuple[Tensor, Tensor, Tensor]:
        """Pick the Q image tokens that match any text token best (language-guided query selection, section 3.2).

        Returns:
            Logits (B, Q, T) and boxes (B, Q, 4) cxcywh_norm of the picked proposals, attached to the graph, and the
            decoder's content queries (B, Q, D).
        """
        core = self.model.model
        proposals, anchors = core.generate_encoder_output_proposals(image.features, ~image.mask, image.shapes)
        logits = self._contrast(core.encoder_output_class_embed, proposals, text)
        count = min(core.config.num_queries, logits.shape[1])
        picked = logits.detach().amax(-1).topk(count, dim=1).indices[..., None]
        box_logits = core.encoder_output_bbox_embed(proposals) + anchors
        chosen = proposals.gather(1, picked.expand(-1, -1, proposals.shape[-1]))
        if core.config.embedding_init_target:
            target = core.query_position_embeddings.weight[:count].expand(len(logits), -1, -1)
        else:
            target = chosen.detach()
        return (
            logits.gather(1, picked.expand(-1, -1, logits.shape[-1])),
            box_logits.gather(1, picked.expand(-1, -1, 4)).sigmoid(),
            target,
        )

    def decode(
        self, image: ImageFeatures, text: TextFeatures, target: Tensor, references: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Refine queries and boxes layer by layer (cross-modality decoder, section 3.3).

        Args:
            image: Fused image features.
            text: Fused text features.
            target: (B, Q, D) content queries.
            references: (B, Q, 4) boxes to start from, cxcywh_norm, detached.

        Returns:
            L logits (B, Q, T) and L boxes (B, Q, 4) cxcywh_norm.
        """
        decoder = self.model.model.decoder
        ratios = torch.cat([image.valid_ratios, image.valid_ratios], dim=-1)[:, None]
        hidden, all_logits, all_boxes = target, [], []
        for index, layer in enumerate(decoder.layers):
            points = references[:, :, None] * ratios
            sines = encode_sinusoidal_position_embedding(points[:, :, 0], num_pos_feats=decoder.config.d_model // 2)
            hidden = layer(
                hidden_states=hidden,
                position_embeddings=decoder.reference_points_head(sines),
                reference_points=points,
                spatial_shapes=image.spatial_shapes,
                spatial_shapes_list=image.shapes,
                level_start_index=_level_starts(image.spatial_shapes),
                vision_encoder_hidden_states=image.features,
                vision_encoder_attention_mask=image.mask,
                text_encoder_hidden_states=text.features,
            )[0]
            normed = decoder.layer_norm(hidden)
            anchors = torch.special.logit(references, eps=1e-5)
            all_logits.append(self._contrast(self.model.class_embed[index], normed, text))
            all_boxes.append((self.model.bbox_embed[index](normed) + anchors).sigmoid())
            # The next layer starts from the un-normed state's box, as in transformers; no gradient flows through it.
            references = (decoder.bbox_embed[index](hidden) + anchors).sigmoid().detach()
        return all_logits, all_boxes

    @staticmethod
    def _contrast(embed: nn.Module, queries: Tensor, text: TextFeatures) -> Tensor:
        """Compare queries (B, Q, D) with text tokens: (B, Q, T), without transformers' padding to its longest text."""
        tokens = text.features.shape[1]
        present = torch.ones(text.features.shape[:2], dtype=torch.bool, device=queries.device)
        logits: Tensor = embed(queries, text.features, present)
        return logits[..., :tokens]


def _level_starts(spatial_shapes: Tensor) -> Tensor:
    sizes = spatial_shapes.prod(1)
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)[:-1]])
