"""Labs that are saved once the stack is installed, and labs that go on from there instead of booting (decision 0017)."""
