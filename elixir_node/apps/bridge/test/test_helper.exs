:logger.set_primary_config(:level, :none)
# Tests compile the same implementation file more than once.
Code.put_compiler_option(:ignore_module_conflict, true)
ExUnit.start()
