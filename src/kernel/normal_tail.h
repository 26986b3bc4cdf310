// The tail of the normal distribution for the vector kernels, which need it for the GELU with erf:
// Phi(-a) = exp(-a^2 / 2) t q(t) for a >= 0, t = 1 / (1 + slope a). q is a polynomial, the highest
// power first, fitted to the least largest relative error for a up to 15, beyond which Phi(-a) is
// no normal float any more: 8e-8 with these coefficients.
#ifndef SG_KERNEL_NORMAL_TAIL_H
#define SG_KERNEL_NORMAL_TAIL_H

enum { normal_terms = 9 };
static const float normal_tail[normal_terms] = {0x1.7da68p-6f,  -0x1.5f91fcp-4f, 0x1.32e7cep-4f,
                                                0x1.e7fd2cp-7f, 0x1.d657a4p-5f,  0x1.71d43p-4f,
                                                0x1.9f4dc4p-4f, 0x1.ca7682p-4f,  0x1.c97ca6p-4f};
static const float normal_slope = 0x1.1eb852p-2f;
static const float normal_density = 0.39894228040143268f; // 1 / sqrt(2 pi)

#endif
