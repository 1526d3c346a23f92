/*
 * Calls CMSIS-NN on the emulated Cortex-M4, for the tables of `cargo xtask peers`: single kernels in the shapes of
 * host-tests/tests/kernels/shapes.rs, and the four networks of MLPerf Tiny layer by layer. Each is a region for the counter
 * (lab/m4cycles). Weights and inputs are noise: what cycles depend on is the shape. Nothing of CMSIS-NN is in this file.
 */
#include "arm_nnfunctions.h"
#include "arm_nnsupportfunctions.h"

/* ------------------------------------------------------------ the machine */
extern uint32_t stack_top;
int main(void);
static int semihost(int what, const void *with)
{
    register int r0 __asm__("r0") = what;
    register const void *r1 __asm__("r1") = with;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}
static void print(const char *text) { semihost(0x04, text); }
static void __attribute__((noreturn)) leave(int status)
{
    const int block[2] = {0x20026, status};
    semihost(0x20, block);
    for (;;) {}
}
static void fault(void) { print("error: fault\n"); leave(2); }
void reset(void)
{
    *(volatile uint32_t *)0xe000ed88 |= 0xfu << 20; /* floating-point unit on */
    leave(main());
}
__attribute__((used, section(".vector_table"))) static const void *const vectors[16] = {
    (void *)0x20400000, reset, fault, fault, fault, fault, fault};
void __attribute__((noinline)) bench_begin(void) { __asm__ volatile("nop"); }
void __attribute__((noinline)) bench_end(void) { __asm__ volatile("nop\n nop"); }

/* --------------------------------------------------------------- the data */
#define MOST (160 << 10)
static const int8_t weights[MOST] = {3, -7, 100, -90, 5, 66, -21, 127}; /* the rest is 0, in flash */
static int8_t in[MOST], other[MOST], out[MOST];
static int32_t bias[1024], multipliers[1024], shifts[1024], sums[1024];
static int8_t scratch[256 << 10];
static const cmsis_nn_activation whole = {-128, 127};

static void failed(arm_cmsis_nn_status status)
{
    if (status != ARM_CMSIS_NN_SUCCESS) { print("error: CMSIS-NN refuses a layer\n"); leave(1); }
}

static void region(const char *name) { print("@region "); print(name); print("\n"); }

/* ------------------------------------------------------------- the layers */
static void convolution(int h, int w, int c, int kh, int kw, int stride, int to)
{
    const int oh = (h + stride - 1) / stride, ow = (w + stride - 1) / stride;
    const int ph = (oh - 1) * stride + kh - h, pw = (ow - 1) * stride + kw - w;
    const cmsis_nn_conv_params params = {12, -3, {stride, stride}, {pw > 0 ? pw / 2 : 0, ph > 0 ? ph / 2 : 0}, {1, 1}, whole};
    const cmsis_nn_per_channel_quant_params quant = {multipliers, shifts};
    const cmsis_nn_dims x = {1, h, w, c}, f = {to, kh, kw, c}, b = {1, 1, 1, to}, y = {1, oh, ow, to};
    const int size = arm_convolve_wrapper_s8_get_buffer_size(&params, &x, &f, &y);
    const cmsis_nn_context context = {scratch, size};
    if (size > (int)sizeof scratch) leave(3);
    failed(arm_convolve_wrapper_s8(&context, &params, &quant, &x, in, &f, weights, &b, bias, &y, out));
}

static void depthwise(int h, int w, int c, int kh, int kw, int stride)
{
    const int oh = (h + stride - 1) / stride, ow = (w + stride - 1) / stride;
    const int ph = (oh - 1) * stride + kh - h, pw = (ow - 1) * stride + kw - w;
    const cmsis_nn_dw_conv_params params = {12, -3, 1, {stride, stride}, {pw > 0 ? pw / 2 : 0, ph > 0 ? ph / 2 : 0}, {1, 1}, whole};
    const cmsis_nn_per_channel_quant_params quant = {multipliers, shifts};
    const cmsis_nn_dims x = {1, h, w, c}, f = {1, kh, kw, c}, b = {1, 1, 1, c}, y = {1, oh, ow, c};
    const int size = arm_depthwise_conv_wrapper_s8_get_buffer_size(&params, &x, &f, &y);
    const cmsis_nn_context context = {scratch, size};
    if (size > (int)sizeof scratch) leave(3);
    failed(arm_depthwise_conv_wrapper_s8(&context, &params, &quant, &x, in, &f, weights, &b, bias, &y, out));
}

static void connected(int rows, int from, int to)
{
    const cmsis_nn_fc_params params = {12, 0, -3, whole};
    const cmsis_nn_per_tensor_quant_params quant = {multipliers[0], shifts[0]};
    const cmsis_nn_dims x = {rows, 1, 1, from}, f = {from, 1, 1, to}, b = {1, 1, 1, to}, y = {rows, 1, 1, to};
    const cmsis_nn_context context = {sums, sizeof sums};
    failed(arm_fully_connected_s8(&context, &params, &quant, &x, in, &f, weights, &b, bias, &y, out));
}

static void product(int rows, int from, int to)
{
    failed(arm_nn_mat_mult_nt_t_s8(in, weights, bias, out, multipliers, shifts, rows, to, from, 12, -3, -128, 127, to, from));
}

static void add(int count)
{
    failed(arm_elementwise_add_s8(in, other, 12, 1 << 30, 0, 7, 1 << 30, 0, 20, out, -3, 1 << 30, -19, -128, 127, count));
}

static void pool(int h, int w, int c)
{
    const cmsis_nn_pool_params params = {{1, 1}, {0, 0}, whole};
    const cmsis_nn_dims x = {1, h, w, c}, f = {1, h, w, 1}, y = {1, 1, 1, c};
    const cmsis_nn_context context = {scratch, sizeof scratch};
    failed(arm_avgpool_s8(&context, &params, &x, in, &f, &y, out));
}

static void softmax(int rows, int length) { arm_softmax_s8(in, rows, length, 1077952576, 23, -248, out); }

/* ----------------------------------------------------------- the networks */
static void detection(void)
{
    connected(1, 640, 128);
    for (int i = 0; i < 3; i++) connected(1, 128, 128);
    connected(1, 128, 8);
    connected(1, 8, 128);
    for (int i = 0; i < 3; i++) connected(1, 128, 128);
    connected(1, 128, 640);
}

static void spotting(void)
{
    convolution(49, 10, 1, 10, 4, 2, 64);
    for (int i = 0; i < 4; i++) { depthwise(25, 5, 64, 3, 3, 1); convolution(25, 5, 64, 1, 1, 1, 64); }
    pool(25, 5, 64);
    connected(1, 64, 12);
    softmax(1, 12);
}

static void classification(void)
{
    convolution(32, 32, 3, 3, 3, 1, 16);
    for (int i = 0; i < 2; i++) convolution(32, 32, 16, 3, 3, 1, 16);
    add(32 * 32 * 16);
    convolution(32, 32, 16, 3, 3, 2, 32);
    convolution(16, 16, 32, 3, 3, 1, 32);
    convolution(32, 32, 16, 1, 1, 2, 32);
    add(16 * 16 * 32);
    convolution(16, 16, 32, 3, 3, 2, 64);
    convolution(8, 8, 64, 3, 3, 1, 64);
    convolution(16, 16, 32, 1, 1, 2, 64);
    add(8 * 8 * 64);
    pool(8, 8, 64);
    connected(1, 64, 10);
    softmax(1, 10);
}

static void wake(void)
{
    static const int blocks[13][3] = {{48, 8, 1}, {48, 16, 2}, {24, 32, 1}, {24, 32, 2}, {12, 64, 1}, {12, 64, 2},
                                      {6, 128, 1}, {6, 128, 1}, {6, 128, 1}, {6, 128, 1}, {6, 128, 1}, {6, 128, 2}, {3, 256, 1}};
    convolution(96, 96, 3, 3, 3, 2, 8);
    for (int i = 0; i < 13; i++) {
        const int side = blocks[i][0], c = blocks[i][1], stride = blocks[i][2], next = (side + stride - 1) / stride;
        depthwise(side, side, c, 3, 3, stride);
        convolution(next, next, c, 1, 1, 1, i < 12 ? blocks[i + 1][1] : 256);
    }
    pool(3, 3, 256);
    connected(1, 256, 2);
    softmax(1, 2);
}

#define COUNT(name, call) (region(name), bench_begin(), (call), bench_end())

int main(void)
{
    uint32_t state = 1;
    for (int i = 0; i < MOST; i++) {
        state = state * 1664525 + 1013904223;
        in[i] = state >> 24;
        other[i] = state >> 16;
    }
    for (int i = 0; i < 1024; i++) { multipliers[i] = 1 << 30; shifts[i] = -8; }
    COUNT("linear 98x64->64", product(98, 64, 64));
    COUNT("linear 98x64->192", product(98, 64, 192));
    COUNT("linear 98x64->256", product(98, 64, 256));
    COUNT("linear 98x256->64", product(98, 256, 64));
    COUNT("linear 1x256->768", connected(1, 256, 768));
    COUNT("softmax 98x98", softmax(98, 98));
    COUNT("add 98x64", add(98 * 64));
    COUNT("convolution 10x4 of 1, stride 2", convolution(49, 10, 1, 10, 4, 2, 64));
    COUNT("convolution 1x1 of 64, 25x5", convolution(25, 5, 64, 1, 1, 1, 64));
    COUNT("convolution 3x3 of 16, 25x5", convolution(25, 5, 16, 3, 3, 1, 16));
    COUNT("depthwise 3x3 of 64, 25x5", depthwise(25, 5, 64, 3, 3, 1));
    COUNT("convolution 3 of 40, 98 rows", convolution(98, 1, 40, 3, 1, 1, 64));
    COUNT("depthwise 9 of 64, 98 rows", depthwise(98, 1, 64, 9, 1, 1));
    COUNT("anomaly detection", detection());
    COUNT("image classification", classification());
    COUNT("keyword spotting", spotting());
    COUNT("person detection", wake());
    return 0;
}
