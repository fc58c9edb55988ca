"""The fixed header."""

from hypothesis import given
from hypothesis import strategies as st

from paintmq.task import Fence
from paintmq.wire.frames import HEADER_BYTES, Header, unpack_header

u16 = st.integers(0, 2**16 - 1)
u32 = st.integers(0, 2**32 - 1)
headers = st.builds(
    Header,
    st.integers(0, 255),
    u32,
    st.binary(min_size=16, max_size=16),
    st.builds(Fence, st.integers(0, 2**63 - 1), u32),
    u16,
    u32,
    u16,
)


@given(headers, st.binary(max_size=9))
def test_a_header_comes_back_as_it_was(header: Header, before: bytes) -> None:
    assert unpack_header(before + header.pack(), len(before)) == header


def test_the_header_is_laid_out_as_the_protocol_page_says() -> None:
    header = Header(2, 3, bytes(range(16)), Fence(4, 5), 6, 7, 8)

    assert header.pack() == bytes.fromhex(
        "5051 01 02 0008 0006 00000007 00000003"
        "000102030405060708090a0b0c0d0e0f 0000000000000004 00000005"
    )
    assert len(header.pack()) == HEADER_BYTES == 44
