"""Which channels there are, in the order in which they are used.

The portal is first: what concerns a person stands there whether or not anything else is reached.
Another channel is one module beside these, and its name here.
"""

from approvals.channels import email, portal
from approvals.channels.protocol import Channel

CHANNELS: tuple[Channel, ...] = (portal, email)
