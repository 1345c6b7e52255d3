// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

/// @title What the tool tests deploy: a constructor, storage, events, calls and reverts of each kind
contract Probe {
    event Stored(address indexed by, uint256 indexed value, string note);

    error Odd(uint256 value);

    uint256 public value;

    constructor(uint256 first) {
        value = first;
    }

    function store(uint256 next, string calldata note) external {
        value = next;
        emit Stored(msg.sender, next, note);
    }

    function half(uint256 number) external pure returns (uint256) {
        if (number % 2 != 0) revert Odd(number);
        require(number != 0, "nothing to halve");
        return number / 2;
    }
}
