from vango.types.usage import Usage

EVERYTHING = Usage(
    input_tokens=1,
    cache_read_tokens=2,
    cache_write_5m_tokens=4,
    cache_write_1h_tokens=8,
    cache_write_other_tokens=16,
    audio_input_tokens=32,
    audio_cache_read_tokens=64,
    output_tokens=128,
    reasoning_tokens=256,
    audio_output_tokens=512,
    image_output_tokens=1024,
    web_search_requests=5,
)


def test_totals_count_every_bucket_once():
    # Powers of two: a bucket that is missing or counted twice changes the sum.
    assert EVERYTHING.total_input == 127
    assert EVERYTHING.total_output == 128 + 256 + 512 + 1024
    assert EVERYTHING.total_tokens == 2047


def test_cache_sums_cover_all_lifetimes_and_audio():
    assert EVERYTHING.cache_write_tokens == 28
    assert EVERYTHING.total_cache_read == 66


def test_every_token_bucket_is_billed():
    buckets = [name for name in Usage.__struct_fields__ if name.endswith("_tokens")]

    assert all(Usage(**{name: 3}).total_tokens == 3 for name in buckets)


def test_requests_are_no_tokens():
    assert Usage(web_search_requests=1, web_fetch_requests=1, file_search_requests=1).total_tokens == 0
