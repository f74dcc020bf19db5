"""What several test modules share of activations."""

from tests.helpers.families import CONFIGS, build


def family(name):
    return build(name.split()[0], **CONFIGS[name]).float().eval()


class FakeBpe:
    def token_to_id(self, token):
        return 3 if token == "[MASK]" else None
