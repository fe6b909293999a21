[
  inputs: ["mix.exs", ".formatter.exs", "apps/*/mix.exs", "apps/bridge/{lib,test}/**/*.{ex,exs}"],
  line_length: 98
]
