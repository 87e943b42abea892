"""What people are asked, and where their answers wait until they are labels; the page, and other tools' formats."""
