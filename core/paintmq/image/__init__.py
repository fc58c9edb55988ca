"""Pictures: as payloads, as files, and summed up for messages. The modules are private."""

from paintmq.image.files import (
    FORMATS_BY_SUFFIX,
    DecodedImage,
    ImageFormat,
    decode_image,
    encode_image,
    format_of,
    size_of_file,
    to_8_bits,
)
from paintmq.image.payloads import (
    ARRAY_DTYPES,
    MASK_THRESHOLD,
    array_from_payload,
    bytes_of_array,
    check_mask_fits,
    check_payload,
    image_from_array,
    image_from_payload,
    mask_from_array,
    mask_from_payload,
    payload_of_array,
    payload_of_bytes,
)
from paintmq.task import Buffer

__all__ = [
    "ARRAY_DTYPES",
    "FORMATS_BY_SUFFIX",
    "MASK_THRESHOLD",
    "Buffer",
    "DecodedImage",
    "ImageFormat",
    "array_from_payload",
    "bytes_of_array",
    "check_mask_fits",
    "check_payload",
    "decode_image",
    "encode_image",
    "format_of",
    "image_from_array",
    "image_from_payload",
    "mask_from_array",
    "mask_from_payload",
    "payload_of_array",
    "payload_of_bytes",
    "size_of_file",
    "to_8_bits",
]
