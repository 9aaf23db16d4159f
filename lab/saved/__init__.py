"""Labs that are saved once their stack is installed, and labs that go on from there (decision 0017)."""
