"""Numbers that others have printed for one checkpoint, to hold ours against."""

# ||bias|| by layer: rainbowbrained/NLA_team13, NLA_project_biases (2).ipynb, December 2024.
PRINTED = {
    ("EleutherAI/pythia-410m", 138000, "dense_4h_to_h", "bias_l2"): (
        1.7884935,
        1.0191306,
        0.8310971,
        0.8807802,
        0.9927285,
        0.89908826,
        1.0030125,
        0.8656911,
        1.00945,
        0.823951,
        0.6951259,
        0.7699349,
        0.7961826,
        1.0878992,
        0.87036175,
        0.85953736,
        1.1486031,
        1.1178265,
        1.0545915,
        1.0965481,
        1.0578804,
        1.0731093,
        1.0862745,
        0.8622946,
    ),
}


def printed(model):
    """{(step, kind, column of a measure): values by layer} printed for MODEL, a short name or an id on the Hub."""
    name = str(model) if "/" in str(model) else f"EleutherAI/{model}"
    return {key[1:]: values for key, values in PRINTED.items() if key[0] == name}
