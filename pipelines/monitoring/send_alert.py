"""The process that sends one message to one address, so that an address that never answers can be given up.

`python -m pipelines.monitoring.send_alert` reads the URL, the title and the text from its input, as a JSON array.

Exit codes: 0 accepted, 1 not accepted, 2 the URL is invalid.
"""

import json
import sys

NOT_ACCEPTED, INVALID = 1, 2


def main() -> int:
    """Send the message of the input."""
    from apprise import Apprise

    url, title, text = json.load(sys.stdin)
    receiver = Apprise()
    if not receiver.add(url):
        return INVALID
    return 0 if receiver.notify(title=title, body=text) else NOT_ACCEPTED


if __name__ == "__main__":
    raise SystemExit(main())
