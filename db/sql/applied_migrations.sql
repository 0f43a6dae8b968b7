SELECT name FROM assetq.migrations;
