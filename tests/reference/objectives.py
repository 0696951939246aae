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


def log_sum_exp(values):
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))


def softmax(values):
    total = log_sum_exp(values)
    return [math.exp(value - total) for value in values]


def cpc(predictions, latents, counted, pool, *, mask_same):
    """CPC, equations 3 and 4: nested lists (B, S, K, D), (B, S, D); places in ``pool``, (B, K, N), of all rows.

    ``counted``, (B, S), says which frames are predicted.
    """
    size, width = len(latents[0]), len(latents[0][0])
    flat = [frame for row in latents for frame in row]
    total, count = 0.0, 0
    for row, chosen in enumerate(counted):
        for frame in range(len(chosen)):
            for step, predicted in enumerate(predictions[row][frame], start=1):
                if frame + step >= len(chosen) or not chosen[frame + step]:
                    continue

                def score(other, predicted=predicted):
                    return sum(a * b for a, b in zip(predicted, other, strict=True)) / math.sqrt(width)

                place = row * size + frame + step
                scores = [score(flat[place])]
                scores += [score(flat[other]) for other in pool[row][step - 1] if not (mask_same and other == place)]
                total += log_sum_exp(scores) - scores[0]
                count += 1
    return total, count


def nt_xent(first, second, groups, temperature):
    """SimCLR, equation 1, summed over all 2 N anchors."""
    vectors, owners = first + second, groups + groups
    pairs, total = len(first), 0.0
    for anchor, vector in enumerate(vectors):
        partner = (anchor + pairs) % (2 * pairs)
        scores = [
            cosine(vector, other) / temperature
            for place, other in enumerate(vectors)
            if place != anchor and owners[place] == owners[anchor]
        ]
        total += log_sum_exp(scores) - cosine(vector, vectors[partner]) / temperature
    return total


def sinkhorn(scores, epsilon, iterations):
    """SwAV's assignments: exp(scores / ε), columns then rows normalised, as its algorithm is written."""
    top = max(max(row) for row in scores)
    q = [[math.exp((score - top) / epsilon) for score in row] for row in scores]
    for _ in range(iterations):
        sums = [sum(column) for column in zip(*q, strict=True)]
        q = [[value / sums[place] / len(sums) for place, value in enumerate(row)] for row in q]
        q = [[value / sum(row) / len(q) for value in row] for row in q]
    return [[value * len(q) for value in row] for row in q]


def swapped(first, second, first_codes, second_codes, temperature):
    """SwAV, equation 2, summed over the pairs."""
    total = 0.0
    for scores, codes in ((first, second_codes), (second, first_codes)):
        for row, wanted in zip(scores, codes, strict=True):
            probabilities = softmax([score / temperature for score in row])
            total -= sum(q * math.log(p) for q, p in zip(wanted, probabilities, strict=True))
    return total


def direct_mi(context, targets, marginal):
    """Σ_n Σ_z p(z | y) (−ln P(z | x) + ln P̂(z))."""
    total = 0.0
    for scores, wanted in zip(context, targets, strict=True):
        predicted, chosen = softmax(scores), softmax(wanted)
        total += sum(
            p * (math.log(frequent) - math.log(q)) for p, q, frequent in zip(chosen, predicted, marginal, strict=True)
        )
    return total


def codebook_step(sums, counts, features, decay):
    """DinoSR, equations 3 to 5, frame by frame: codes, and the sums and counts after one batch."""
    size = len(sums)
    words = [[value / counts[place] for value in row] for place, row in enumerate(sums)]
    codes = []
    for frame in features:
        distances = [sum((a - b) ** 2 for a, b in zip(frame, word, strict=True)) for word in words]
        codes.append(distances.index(min(distances)))
    new_sums, new_counts = [list(row) for row in sums], list(counts)
    for place in range(size):
        mine = [frame for frame, code in zip(features, codes, strict=True) if code == place]
        if mine:
            added = [sum(column) for column in zip(*mine, strict=True)]
            new_sums[place] = [decay * a + (1 - decay) * b for a, b in zip(sums[place], added, strict=True)]
            new_counts[place] = decay * counts[place] + (1 - decay) * len(mine)
    return codes, new_sums, new_counts
