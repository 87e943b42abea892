"""ReCo as its description reads, one class, one query, one draw after another: what the vectorised loss is held to."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from s4al.config import ReCoConfig


def reco_loss_reference(
    representation_BDhw: Tensor,
    label_BHW: Tensor,
    probability_BChw: Tensor,
    *,
    config: ReCoConfig,
    rng: np.random.Generator,
) -> Tensor:
    """Arguments and result as of `s4al.trainer.learners.reco.reco_loss`."""
    size = representation_BDhw.shape[-2:]
    label_Bhw = F.interpolate(label_BHW[:, None].float(), size, mode="nearest")[:, 0].long()
    vector_BhwD = representation_BDhw.permute(0, 2, 3, 1)

    everywhere, hard, prototypes = [], [], []
    for c in range(probability_BChw.shape[1]):
        member_Bhw = label_Bhw == c
        if not member_Bhw.any():
            continue
        uncertain_Bhw = member_Bhw & (probability_BChw[:, c] < config.strong_threshold)
        everywhere.append(vector_BhwD[member_Bhw].detach())
        hard.append(vector_BhwD[uncertain_Bhw])
        prototypes.append(everywhere[-1].mean(dim=0))

    total = representation_BDhw.sum() * 0.0
    if len(prototypes) < 2:
        return total
    for c, candidates in enumerate(hard):
        if len(candidates) > 0:
            queries = candidates[rng.integers(len(candidates), size=config.num_queries)]
            total = total + _class_loss(queries, c, everywhere, prototypes, config, rng)
    return total / len(prototypes)


def _class_loss(
    query_QD: Tensor,
    c: int,
    everywhere: list[Tensor],
    prototypes: list[Tensor],
    config: ReCoConfig,
    rng: np.random.Generator,
) -> Tensor:
    others = [n for n in range(len(prototypes)) if n != c]
    similarity = torch.stack([F.cosine_similarity(prototypes[c], prototypes[n], dim=0) for n in others])
    share = torch.softmax(similarity.double() / config.temperature, dim=0).cpu().numpy()
    pool = torch.cat([everywhere[n] for n in others])
    start = np.cumsum([0] + [len(everywhere[n]) for n in others])

    picked: list[int] = []
    for _ in range(config.num_queries):
        drawn = rng.choice(len(others), size=config.num_negatives, p=share / share.sum())
        for n in range(len(others)):
            times = int((drawn == n).sum())
            picked += rng.integers(start[n], start[n + 1], size=times).tolist()
    negative_QKD = pool[picked].view(config.num_queries, config.num_negatives, -1)

    positive_Q1D = prototypes[c].expand(config.num_queries, 1, -1)
    cosine_QL = F.cosine_similarity(query_QD[:, None], torch.cat([positive_Q1D, negative_QKD], dim=1), dim=2)
    first_Q = torch.zeros(config.num_queries, dtype=torch.long, device=query_QD.device)
    return F.cross_entropy(cosine_QL / config.temperature, first_Q)
