/* Packing against the vectors of the format description, against an independent bit loop, and
 * digests. SPDX-License-Identifier: Apache-2.0 */
#include "qep_test.h"
#include "qep/quant.h"

static const struct {
    int bits;
    uint32_t words[8];
} vectors[] = {
    {2, {0x93939393, 0x93939393}},
    {3, {0x43C67543, 0x7543C675, 0xC67543C6}},
    {4, {0x61C72D83, 0xE94FA50B, 0x61C72D83, 0xE94FA50B}},
    {5, {0x79793503, 0xFD560B30, 0x77137249, 0x1BB45871, 0xF668F514}},
    {6, {0x1748D203, 0x5C2B9A17, 0x38913FEB, 0x2789D613, 0x503BDB1B, 0x79950F28}},
    {7, {0x72434403, 0x2B4C84E1, 0x23F74D58, 0x6C539D26, 0xC7667C57, 0x41407BED, 0x3C64A0F1}},
    {8, {0x120D0803, 0x26211C17, 0x3A35302B, 0x4E49443F, 0x625D5853, 0x76716C67, 0x8A85807B,
         0x9E99948F}},
};

static void known_vectors(void **state)
{
    (void)state;
    for (size_t v = 0; v < sizeof vectors / sizeof vectors[0]; v++) {
        int bits = vectors[v].bits;
        uint8_t codes[32];
        uint32_t words[8];
        for (int i = 0; i < 32; i++) codes[i] = (uint8_t)((5 * i + 3) % (1 << bits));
        qep_pack_bits(words, codes, 1, 32, bits);
        assert_int_equal(qep_packed_words(32, bits), bits);
        assert_memory_equal(words, vectors[v].words, (size_t)bits * 4);
    }
    uint8_t ramp[8] = {0, 1, 2, 3, 4, 5, 6, 7}, zeros[8] = {8, 0, 8, 8, 8, 8, 8, 8};
    uint32_t word;
    qep_pack_bits(&word, ramp, 1, 8, 4);
    assert_int_equal(word, 0x76543210);
    qep_pack_bits(&word, zeros, 1, 8, 4);
    assert_int_equal(word, 0x88888808);
}

static void any_size_and_stride(void **state)
{
    (void)state;
    static const int64_t sizes[] = {0, 1, 2, 7, 10, 11, 21, 22, 31, 32, 33, 64, 97, 127, 128, 129,
                                    257};
    qep_rng rng;
    qep_rng_seed(&rng, 1);
    for (int bits = 1; bits <= 8; bits++)
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
            for (int64_t stride = 1; stride <= 3; stride += 2) {
                int64_t n = sizes[s], n_words = qep_packed_words(n, bits);
                uint8_t codes[3 * 257], back[3 * 257];
                uint32_t words[66];
                assert_int_equal(n_words, (n * bits + 31) / 32);
                memset(words, 0xA5, sizeof words);
                memset(back, 0xEE, sizeof back);
                for (int64_t i = 0; i < n * stride; i++)
                    codes[i] = (uint8_t)(qep_rng_u64(&rng) & ((1u << bits) - 1u));
                qep_pack_bits(words, codes, stride, n, bits);
                assert_int_equal(words[n_words], 0xA5A5A5A5); /* nothing behind the end */
                for (int64_t b = 0; b < n_words * 32; b++) {
                    int want = b < n * bits ? (codes[b / bits * stride] >> (b % bits)) & 1 : 0;
                    assert_int_equal((words[b / 32] >> (b % 32)) & 1u, want);
                }
                qep_unpack_bits(back, stride, words, n, bits);
                for (int64_t k = 0; k < n * stride; k++)
                    assert_int_equal(back[k], k % stride ? 0xEE : codes[k]);
            }
}

/* Digest: a sum over rows that depends on every value and on its place, not on the order of the
 * calls. */
static void digest_rows(void **state)
{
    (void)state;
    enum { COLS = 37, GROUPS = 3 };
    uint8_t codes[2][COLS], zeros[2][GROUPS] = {{1, 2, 3}, {4, 5, 6}};
    float scales[2][GROUPS] = {{0.5f, 0.25f, 0.125f}, {1.0f, 2.0f, 4.0f}};
    int32_t g_idx[COLS];
    for (int k = 0; k < COLS; k++) {
        g_idx[k] = k / 13;
        codes[0][k] = (uint8_t)(k % 16);
        codes[1][k] = (uint8_t)(15 - k % 16);
    }
    uint64_t a[2] = {0, 0}, b[2] = {0, 0}, c[2];
    for (int r = 0; r < 2; r++)
        qep_digest_row(a, 7, r, codes[r], scales[r], zeros[r], g_idx, COLS, GROUPS);
    for (int r = 1; r >= 0; r--)
        qep_digest_row(b, 7, r, codes[r], scales[r], zeros[r], g_idx, COLS, GROUPS);
    assert_memory_equal(a, b, sizeof a);
    assert_true(a[0] != a[1]);
    for (int change = 0; change < 6; change++) {
        c[0] = c[1] = 0;
        codes[0][36] ^= change == 0;
        scales[1][2] = change == 1 ? 4.00390625f : 4.0f;
        zeros[0][0] = change == 2 ? 2 : 1;
        g_idx[20] = change == 3 ? 2 : 1;
        int64_t linear = change == 4 ? 8 : 7, swap = change == 5;
        for (int r = 0; r < 2; r++)
            qep_digest_row(c, linear, r ^ swap, codes[r], scales[r], zeros[r], g_idx, COLS, GROUPS);
        codes[0][36] ^= change == 0;
        assert_true(c[0] != a[0] && c[1] != a[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_vectors),
        cmocka_unit_test(any_size_and_stride),
        cmocka_unit_test(digest_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
