% Goodwin's oscillator with its Hill term as a fourth state
clear all;

syms x1 x2 x3 x4
x = [x1 x2 x3 x4].';

%{
  parameters, in alphabetical order
%}
syms alpha b beta c ...
     delta gama sigma positive
p = [alpha; b; beta; c; delta; gama; sigma];

u = []; w = [];
h = x1;

f = [-b*x1 + 1/(c + x4);          % mRNA
     alpha*x1 - beta*x2
     gama*x2 - delta*x3;
     sigma*x4*(gama*x2 - delta*x3)./x3];

ics  = [];
known_ics = [0 0 0 0];
save('goodwin', 'x', 'p', 'h', 'f', 'u', 'w', 'ics', 'known_ics');
