"""The network: the stages of Grounding DINO over the modules of transformers."""
