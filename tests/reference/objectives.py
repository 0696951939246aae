"""The objectives, one frame and one candidate at a time, in nats, from the papers."""

import math


def cosine(left, right):
    dot = sum(a * b for a, b in zip(left, right, strict=True))
    return dot / math.sqrt(sum(a * a for a in left)) / math.sqrt(sum(b * b for b in right))


def contrastive(context, targets, negatives, codes, temperature, *, mask_same):
    """wav2vec 2.0, equation 3, for one utterance: lists of frames; negatives are lists of indices."""
    total = 0.0
    for frame, chosen in enumerate(negatives):
        scores = [cosine(context[frame], targets[frame]) / temperature]
        for other in chosen:
            if mask_same and codes[other] == codes[frame]:
                continue
            scores.append(cosine(context[frame], targets[other]) / temperature)
        total -= scores[0] - math.log(sum(math.exp(score) for score in scores))
    return total


def diversity(probabilities):
    """1 − Σ_g exp H(p̄_g) / GV of a list of frames of groups of entries."""
    groups, entries = len(probabilities[0]), len(probabilities[0][0])
    used = 0.0
    for group in range(groups):
        entropy = 0.0
        for entry in range(entries):
            share = sum(frame[group][entry] for frame in probabilities) / len(probabilities)
            entropy -= share * math.log(share) if share > 0 else 0.0
        used += math.exp(entropy)
    return 1 - used / (groups * entries)


def masked_prediction(context, embeddings, targets, temperature):
    """HuBERT, equation 3: summed cross-entropy of units whose scores are cosines over τ."""
    total = 0.0
    for frame, target in zip(context, targets, strict=True):
        scores = [cosine(frame, embedding) / temperature for embedding in embeddings]
        total -= scores[target] - math.log(sum(math.exp(score) for score in scores))
    return total


def entropy_bits(counts):
    """Entropy of a histogram."""
    total = sum(counts)
    return -sum(count / total * math.log2(count / total) for count in counts if count)
