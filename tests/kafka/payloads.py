"""Messages as the earlier system wrote them: an image of 28 x 28 as Avro, as JSON, and as Avro in a MongoDB export.

Written out byte by byte, so that they don't depend on the code that is tested with them.
"""

import base64
import json
import struct

LABEL = 7
NUMBERS = [(i * 37 % 256) / 256 for i in range(784)]
META = "mnist"

# A block of 784 (zigzag 1568, as a varint a0 0c), its numbers, the end of the array; the label; a block of two sizes,
# 28 and 28, and its end; a text of five letters.
AVRO = (
    b"\xa0\x0c" + struct.pack("<784f", *NUMBERS) + b"\x00" + bytes([2 * LABEL]) + b"\x04\x38\x38\x00" + b"\x0amnist"
)
JSON = json.dumps({"data": NUMBERS, "label": LABEL, "shape": [28, 28], "meta": META}).encode()
AVRO_IN_JSON = json.dumps(
    {
        "_id": {"$oid": "65f0c0ffee65f0c0ffee65f0"},
        "payload": {"$binary": {"base64": base64.b64encode(AVRO).decode(), "subType": "00"}},
    }
).encode()

ALL = {"Avro": AVRO, "JSON": JSON, "AvroInJSON": AVRO_IN_JSON}
