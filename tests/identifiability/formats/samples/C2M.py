"""Two compartments, written for a symbolic tool."""

import sympy as sym

x1, x2 = sym.symbols("x1 x2")
u1 = sym.Symbol("u1")
k = sym.symbols("x3:6", positive=True)
x3, x4, x5 = k
x6 = sym.Symbol("x6")

x = [[x1], [x2]]
h = [x1]
u = [u1]
w = []
p = [[x3], [x4], [x5], [x6]]

leaving = (x3 + x4) * x1  # an auxiliary
f = [[-leaving + x5 * x2 + x6 * u1], [x4 * x1 - x5 * x2]]

variables_locales = locals().copy()
