[
  inputs: ["mix.exs", ".formatter.exs", "apps/*/mix.exs", "apps/*/{lib,test}/**/*.{ex,exs}"],
  line_length: 98
]
