# SIRS with a seasonal contact rate
using StructuralIdentifiability

ode = @ODEmodel(
    s'(t) = μ - μ * s(t) - b0 * (1 + b1 * x1(t)) * i(t) * s(t) + g * r(t),
    i'(t) = b0 * (1 + b1 * x1(t)) * i(t) * s(t) - (ν + μ) * i(t),
    r'(t) = ν * i(t) - (μ + g) * r(t),  # recovered
    x1'(t) = -M * x2(t),
    x2'(t) = M * x1(t),
    y1(t) = i(t),
    y2(t) = r(t)
)

@time println(assess_local_identifiability(ode))
